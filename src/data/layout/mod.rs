//! What a DATA argument is: a folder in one of the known layouts, a video file or a URI.

mod detect;
mod frames;
mod labels;
mod split;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::pictures;
use crate::pixels::Image;
use crate::{Error, Result};
pub use detect::is_video;
use frames::Frames;

/// Which part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Split {
    /// To learn from.
    Train,
    /// To choose by.
    Val,
    /// To judge by.
    Test,
}

/// One sample, not yet read.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The picture (or the video).
    pub source: Source,
    /// Class name: the folder's in ImageFolder and MVTec layouts; of a video's frame, `good` or `anomalous` where `labels.csv` beside the
    /// video says so.
    pub class: Option<String>,
    /// Mask of defects or classes, when there is one.
    pub mask: Option<PathBuf>,
    /// The clean picture of a noisy one.
    pub clean: Option<PathBuf>,
    /// Its position among all that were listed with it: what comes right after it in a video, or a folder, has the next one.
    pub place: usize,
}

/// Where a sample's frame comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A picture file.
    Picture(PathBuf),
    /// Frame `index` of a video, held in memory by its data set.
    Frame {
        /// File or URI.
        video: String,
        /// Index from 0, counting all frames of the video.
        index: usize,
    },
}

impl Source {
    /// Whether this is a later frame of the video that `before` is a frame of.
    pub fn follows(&self, before: &Self) -> bool {
        match (before, self) {
            (Self::Frame { video: a, index: i }, Self::Frame { video: b, index: j }) => a == b && i < j,
            _ => false,
        }
    }
}

/// The known layouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Pictures in one folder, or one picture.
    Flat,
    /// `train|val|test/CLASS/` or `CLASS/`.
    ImageFolder,
    /// `train/good`, `test/good`, `test/DEFECT`, `ground_truth/DEFECT/NAME_mask.png`.
    Mvtec,
    /// `noisy/NAME` and `clean/NAME`, perhaps below `train|test/`.
    Pairs,
    /// `images/NAME` and `masks/NAME`, perhaps below `train|test/`.
    Masks,
    /// A video file or URI, or a folder of video files.
    Video,
}

/// What a list of DATA arguments holds.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Layout of the arguments: of the first one, or where pictures lie beside others in a layout with masks, that.
    pub layout: Layout,
    /// Samples in a fixed order (by argument, then by path; frames by time).
    pub samples: Vec<Sample>,
    /// Class names, sorted; empty where the layout has none. The same for training and validation; for tests those that only they have, too.
    pub classes: Vec<String>,
    /// Decoded video frames, where there are videos.
    frames: Frames,
    /// The arguments that are paths: names in the digest are relative to them.
    roots: Vec<PathBuf>,
}

/// Limits on what is taken from videos.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoLimits {
    /// Every how many frames one is taken; at least 1.
    pub every: usize,
    /// At most this many frames of each video; 0 = all.
    pub max: usize,
}

impl Default for VideoLimits {
    fn default() -> Self {
        Self { every: 1, max: 0 }
    }
}

impl Dataset {
    /// Finds out what each argument is and lists its samples of `split`. A layout without splits gives all its samples for
    /// [`Split::Train`] and [`Split::Test`]. [`Split::Val`] is empty where the data has no such split: see [`Dataset::split_off`].
    /// Arguments are paths or URIs (`scheme://`), all of one layout. The error names the argument and says what was expected.
    pub fn open(arguments: &[String], split: Split, limits: VideoLimits) -> Result<Self> {
        let mut all: Option<Dataset> = None;
        for argument in arguments {
            let next = Self::open_one(argument, split, limits)?;
            let Some(all) = &mut all else {
                all = Some(next);
                continue;
            };
            // Pictures that have no mask may lie beside those that have: they are good ones.
            let masked = |layout| matches!(layout, Layout::Masks | Layout::Mvtec);
            if all.layout == Layout::Flat && masked(next.layout) {
                all.layout = next.layout;
            } else if all.layout != next.layout && !(masked(all.layout) && next.layout == Layout::Flat) {
                let reason = format!(
                    "this is {}, but `{}` before it is {}; give data of one layout",
                    next.layout.describe(),
                    arguments[0],
                    all.layout.describe()
                );
                return Err(Error::data(argument, reason));
            }
            all.samples.extend(next.samples);
            all.frames.extend(next.frames);
            all.roots.extend(next.roots);
            let classes: BTreeSet<String> = all.classes.drain(..).chain(next.classes).collect();
            all.classes = classes.into_iter().collect();
        }
        let mut all =
            all.ok_or_else(|| Error::Invalid("no data: name a folder, a picture, a video or a URI".into()))?;
        all.samples
            .iter_mut()
            .enumerate()
            .for_each(|(place, sample)| sample.place = place);
        Ok(all)
    }

    fn open_one(argument: &str, split: Split, limits: VideoLimits) -> Result<Self> {
        let mut data = Self {
            layout: Layout::Video,
            samples: Vec::new(),
            classes: Vec::new(),
            frames: Frames::default(),
            roots: Vec::new(),
        };
        if argument.contains("://") {
            if split != Split::Val {
                data.add_video(argument, limits)?;
            }
            return Ok(data);
        }
        let path = Path::new(argument);
        let found = detect::detect(path)?;
        data.layout = found.layout();
        data.roots.push(path.to_owned());
        match found {
            detect::Found::Videos(files) if split != Split::Val => {
                for file in files {
                    let name = file
                        .to_str()
                        .ok_or_else(|| Error::data(&file, "the name is not UTF-8; rename the video"))?;
                    data.add_video(name, limits)?;
                }
            }
            detect::Found::Videos(_) => {}
            other => (data.samples, data.classes) = other.samples(path, split)?,
        }
        Ok(data)
    }

    fn add_video(&mut self, location: &str, limits: VideoLimits) -> Result<()> {
        let path = Path::new(location);
        let labels = match path.parent() {
            Some(folder) if !location.contains("://") => labels::read(folder)?,
            _ => labels::Labels::new(),
        };
        let labels = path.file_stem().and_then(|stem| labels.get(stem.to_str()?));
        for index in self.frames.decode(location, limits)? {
            let source = Source::Frame {
                video: location.to_owned(),
                index,
            };
            self.samples.push(Sample {
                source,
                class: labels
                    .and_then(|labels| labels.get(&index))
                    .map(|class| (*class).to_owned()),
                mask: None,
                clean: None,
                place: 0,
            });
        }
        Ok(())
    }

    /// Reads one sample's picture. Safe to call from several threads.
    pub fn read(&self, sample: &Sample) -> Result<Image> {
        match &sample.source {
            Source::Picture(path) => pictures::read(path),
            Source::Frame { video, index } => self.frames.get(video, *index).ok_or_else(|| strange(video, *index)),
        }
    }

    /// Adds pictures of which nobody says more than that they are there: without class, mask or clean picture. The error names a video.
    pub fn add_plain(&mut self, other: Self) -> Result<()> {
        // Its first picture does not come right after the last one here.
        let first = self.samples.iter().map(|sample| sample.place + 2).max().unwrap_or(0);
        for sample in other.samples {
            if let Source::Frame { video, .. } = sample.source {
                return Err(Error::data(video, "a video; pictures are needed here"));
            }
            self.samples.push(Sample {
                class: None,
                mask: None,
                clean: None,
                place: first + sample.place,
                ..sample
            });
        }
        self.roots.extend(other.roots);
        Ok(())
    }

    /// `[width, height]` of one sample's picture, without decoding it.
    pub fn size(&self, sample: &Sample) -> Result<[usize; 2]> {
        match &sample.source {
            Source::Picture(path) => pictures::size(path),
            Source::Frame { video, index } => self.frames.size(video, *index).ok_or_else(|| strange(video, *index)),
        }
    }

    /// The samples, and whether each is what came right after the one before it in a video (among the frames that were taken), or in a
    /// folder of pictures, where these are taken for a video.
    pub fn in_order(&self) -> impl Iterator<Item = (&Sample, bool)> {
        let before = std::iter::once(None).chain(self.samples.iter().map(Some));
        self.samples.iter().zip(before).map(|(now, before)| {
            let together = |before: &Sample| match (&before.source, &now.source) {
                (Source::Frame { video: a, .. }, Source::Frame { video: b, .. }) => a == b,
                (Source::Picture(a), Source::Picture(b)) => a.parent() == b.parent(),
                _ => false,
            };
            (
                now,
                before.is_some_and(|before| before.place + 1 == now.place && together(before)),
            )
        })
    }

    /// SHA-256 over names and contents of all the samples' files, hexadecimal: the data's digest for the model's card. Names are relative
    /// to the argument, so that moving a folder changes nothing; of videos, the decoded frames count.
    pub fn digest(&self) -> Result<String> {
        let mut hash = Sha256::new();
        for sample in &self.samples {
            match &sample.source {
                Source::Picture(path) => self.hash_file(path, &mut hash)?,
                Source::Frame { video, index } => {
                    hash_text(&self.relative(Path::new(video)), &mut hash);
                    hash.update((*index as u64).to_le_bytes());
                    self.frames.hash(video, *index, &mut hash);
                }
            }
            hash_text(sample.class.as_deref().unwrap_or_default(), &mut hash);
            for path in sample.mask.iter().chain(&sample.clean) {
                self.hash_file(path, &mut hash)?;
            }
        }
        Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn hash_file(&self, path: &Path, hash: &mut Sha256) -> Result<()> {
        hash_text(&self.relative(path), hash);
        let mut file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        let length = file.metadata().map_err(|e| Error::io(path, e))?.len();
        hash.update(length.to_le_bytes());
        std::io::copy(&mut file, &mut HashWriter(hash)).map_err(|e| Error::io(path, e))?;
        Ok(())
    }

    /// `path` below the argument it came with, `/` between names on every system.
    fn relative(&self, path: &Path) -> String {
        let below = self.roots.iter().filter_map(|root| path.strip_prefix(root).ok());
        let shortest = below.min_by_key(|rest| rest.components().count());
        let name = match shortest {
            Some(rest) if rest.as_os_str().is_empty() => Path::new(path.file_name().unwrap_or_default()),
            Some(rest) => rest,
            None => path,
        };
        name.components()
            .map(|part| part.as_os_str().to_string_lossy())
            .collect::<Vec<_>>()
            .join("/")
    }

    /// Splits off about `share` of the samples for validation, `(rest, validation)`: the last time block of each video; of pictures a
    /// seeded draw within each class. Pictures whose names end in numbers (as cameras and recorders number them) are drawn as blocks
    /// of neighbouring numbers, so that one part seen in several of them is not on both sides.
    /// Never an empty side when there are two samples or more.
    pub fn split_off(self, share: f64, seed: u64) -> (Dataset, Dataset) {
        let chosen = split::choose(&self.samples, share, seed);
        self.parted(&chosen)
    }

    /// [`Dataset::split_off`] with pictures taken for the frames of a video: the last ones of each folder, too.
    pub fn split_off_end(self, share: f64) -> (Dataset, Dataset) {
        let chosen = split::ends(&self.samples, share);
        self.parted(&chosen)
    }

    /// The samples that are not chosen, and those that are.
    fn parted(self, chosen: &[bool]) -> (Dataset, Dataset) {
        let side = |wanted: bool| {
            let samples = self.samples.iter().zip(chosen).filter(|(_, chosen)| **chosen == wanted);
            Dataset {
                layout: self.layout,
                samples: samples.map(|(sample, _)| sample.clone()).collect(),
                classes: self.classes.clone(),
                frames: self.frames.clone(),
                roots: self.roots.clone(),
            }
        };
        (side(false), side(true))
    }
}

/// Reads the mask of `picture`: one channel of its size, 1 where it is at least half white, else 0.
pub fn read_mask(path: &Path, picture: &Image) -> Result<Image> {
    let mut mask = pictures::read(path)?.to_color(crate::model::Color::Gray);
    let [size, wanted] = [&mask, picture].map(|image| format!("{}x{}", image.width, image.height));
    if size != wanted {
        return Err(Error::data(
            path,
            format!("the mask has {size} pixels, its picture {wanted}"),
        ));
    }
    mask.data.iter_mut().for_each(|v| *v = f32::from(*v >= 0.5));
    Ok(mask)
}

impl Layout {
    /// For a person.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Flat => "a folder of pictures",
            Self::ImageFolder => "an ImageFolder (a folder a class)",
            Self::Mvtec => "a folder in MVTec layout",
            Self::Pairs => "noisy/ and clean/ pairs",
            Self::Masks => "images/ with masks/",
            Self::Video => "video",
        }
    }
}

/// The error of a frame from another data set.
fn strange(video: &str, index: usize) -> Error {
    Error::data(video, format!("frame {index} does not belong to this data set"))
}

/// Hashes a text with its length, so that neighbours cannot be mistaken for each other.
fn hash_text(text: &str, hash: &mut Sha256) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

/// Lets [`std::io::copy`] write to a hash.
struct HashWriter<'a>(&'a mut Sha256);

impl std::io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
