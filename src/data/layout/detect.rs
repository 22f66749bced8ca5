//! Finds out which layout a folder has, and lists its samples.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::{Layout, Sample, Source, Split};
use crate::data::pictures;
use crate::{Error, Result};

/// Extensions that count as videos, in lower case.
const VIDEOS: [&str; 20] = [
    "avi", "mp4", "m4v", "mkv", "mov", "webm", "mpg", "mpeg", "ts", "mts", "m2ts", "ogv", "ogg", "wmv", "flv", "3gp",
    "y4m", "h264", "h265", "mjpeg",
];
/// Folder names of the splits.
const SPLITS: [(Split, &[&str]); 3] = [
    (Split::Train, &["train"]),
    (Split::Val, &["val", "valid", "validation"]),
    (Split::Test, &["test"]),
];

/// What was found at a path.
pub enum Found {
    Picture,
    Flat,
    Classes,
    SplitClasses,
    Mvtec,
    /// Two folders of the same names: pictures, and what belongs to each.
    Twins(Layout),
    Videos(Vec<PathBuf>),
}

/// A folder's content, hidden entries left out, each list sorted.
struct Content {
    folders: Vec<PathBuf>,
    pictures: Vec<PathBuf>,
    videos: Vec<PathBuf>,
}

/// Names of the two folders in twin layouts.
fn twin_names(layout: Layout) -> [&'static str; 2] {
    if layout == Layout::Pairs {
        ["noisy", "clean"]
    } else {
        ["images", "masks"]
    }
}

pub fn detect(path: &Path) -> Result<Found> {
    let kind = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if kind.is_file() {
        return if pictures::has_extension(path) {
            Ok(Found::Picture)
        } else if is_video(path) {
            Ok(Found::Videos(vec![path.to_owned()]))
        } else {
            let reason = format!(
                "neither a picture ({}) nor a video ({}) by its extension; give a file:// URI if it is a video",
                pictures::EXTENSIONS.join(", "),
                VIDEOS.join(", ")
            );
            Err(Error::data(path, reason))
        };
    }
    let content = read_folder(path)?;
    let has = |name: &str| path.join(name).is_dir();
    for layout in [Layout::Pairs, Layout::Masks] {
        let [first, second] = twin_names(layout);
        let complete = |folder: &Path| folder.join(first).is_dir() && folder.join(second).is_dir();
        if complete(path) || split_folders(path).any(|(_, folder)| complete(&folder)) {
            return Ok(Found::Twins(layout));
        }
    }
    let trained_on = match split_folder(path, Split::Train) {
        Some(train) => names(&read_folder(&train)?.folders),
        None => Vec::new(),
    };
    if has("ground_truth") || trained_on == ["good"] {
        return Ok(Found::Mvtec);
    }
    let splits: Vec<PathBuf> = split_folders(path).map(|(_, folder)| folder).collect();
    if !splits.is_empty() {
        if let Some(split) = splits
            .iter()
            .find(|folder| read_folder(folder).is_ok_and(|c| c.folders.is_empty()))
        {
            let name = split.file_name().unwrap_or_default().to_string_lossy();
            let reason = format!(
                "{name}/ holds no class folders. Expected {name}/CLASS/pictures; for pictures of one kind name {name}/ itself"
            );
            return Err(Error::data(path, reason));
        }
        return Ok(Found::SplitClasses);
    }
    if !content.pictures.is_empty() {
        return Ok(Found::Flat);
    }
    if !content.videos.is_empty() {
        return Ok(Found::Videos(content.videos));
    }
    let with_pictures = content
        .folders
        .iter()
        .any(|f| read_folder(f).is_ok_and(|c| !c.pictures.is_empty()));
    if with_pictures {
        Ok(Found::Classes)
    } else {
        Err(unknown(path, &content))
    }
}

/// The error for a folder in no known layout.
fn unknown(path: &Path, content: &Content) -> Error {
    let inside = match names(&content.folders).as_slice() {
        [] => "no pictures, videos or folders in it".to_owned(),
        folders => format!(
            "it holds only the folders {}, without pictures in them",
            folders[..folders.len().min(6)].join(", ")
        ),
    };
    let reason = format!(
        "no data in a known layout: {inside}. Expected one of: pictures; CLASS/pictures; train|val|test/CLASS/pictures; \
         train/good with test/ and ground_truth/ (MVTec); noisy/ and clean/; images/ and masks/; videos"
    );
    Error::data(path, reason)
}

impl Found {
    pub fn layout(&self) -> Layout {
        match self {
            Self::Picture | Self::Flat => Layout::Flat,
            Self::Classes | Self::SplitClasses => Layout::ImageFolder,
            Self::Mvtec => Layout::Mvtec,
            Self::Twins(layout) => *layout,
            Self::Videos(_) => Layout::Video,
        }
    }

    /// Samples of `split` below `path`, and all class names.
    pub fn samples(&self, path: &Path, split: Split) -> Result<(Vec<Sample>, Vec<String>)> {
        let whole = split != Split::Val;
        match self {
            Self::Picture => Ok((
                if whole {
                    vec![plain(path.to_owned())]
                } else {
                    Vec::new()
                },
                Vec::new(),
            )),
            Self::Flat => {
                let files = if whole { pictures::list(path)? } else { Vec::new() };
                Ok((files.into_iter().map(plain).collect(), Vec::new()))
            }
            Self::Classes => {
                let (samples, classes) = class_folders(path)?;
                Ok((if whole { samples } else { Vec::new() }, classes))
            }
            Self::SplitClasses => split_classes(path, split),
            Self::Mvtec => mvtec(path, split),
            Self::Twins(layout) => Ok((twins(path, split, *layout)?, Vec::new())),
            Self::Videos(_) => Ok((Vec::new(), Vec::new())),
        }
    }
}

fn plain(path: PathBuf) -> Sample {
    Sample {
        source: Source::Picture(path),
        class: None,
        mask: None,
        clean: None,
        place: 0,
    }
}

/// `CLASS/pictures` below `path`.
fn class_folders(path: &Path) -> Result<(Vec<Sample>, Vec<String>)> {
    let folders = read_folder(path)?.folders;
    let mut samples = Vec::new();
    let classes = class_names(&folders)?;
    for (folder, class) in folders.iter().zip(&classes) {
        let files = pictures::list(folder)?;
        samples.extend(files.into_iter().map(|file| Sample {
            class: Some(class.clone()),
            ..plain(file)
        }));
    }
    Ok((samples, classes))
}

/// `train|val|test/CLASS/pictures`. Classes are those of all splits that are trained with, so that their numbers agree: one that only `test/` has
/// is for a model not to know.
fn split_classes(path: &Path, split: Split) -> Result<(Vec<Sample>, Vec<String>)> {
    let mut classes = BTreeSet::new();
    for (_, folder) in split_folders(path).filter(|(of, _)| split == Split::Test || *of != Split::Test) {
        classes.extend(class_names(&read_folder(&folder)?.folders)?);
    }
    let samples = match needed_split(path, split)? {
        Some(folder) => class_folders(&folder)?.0,
        None => Vec::new(),
    };
    Ok((samples, classes.into_iter().collect()))
}

fn mvtec(path: &Path, split: Split) -> Result<(Vec<Sample>, Vec<String>)> {
    let (mut samples, _) = match needed_split(path, split)? {
        Some(folder) => class_folders(&folder)?,
        None => Default::default(),
    };
    if split == Split::Train {
        samples.retain(|sample| sample.class.as_deref() == Some("good"));
        if samples.is_empty() {
            return Err(Error::data(path, "no pictures in train/good"));
        }
    }
    for class in samples.iter().filter_map(|s| s.class.clone()).collect::<BTreeSet<_>>() {
        let folder = path.join("ground_truth").join(&class);
        if class == "good" || !folder.is_dir() {
            continue;
        }
        let masks = by_stem(&folder)?;
        for sample in samples.iter_mut().filter(|s| s.class.as_ref() == Some(&class)) {
            let Source::Picture(picture) = &sample.source else {
                continue;
            };
            let stem = stem(picture);
            let mask = masks.get(&format!("{stem}_mask")).or_else(|| masks.get(&stem));
            let missing = || {
                Error::data(
                    picture,
                    format!("its mask {stem}_mask.png is missing in {}", folder.display()),
                )
            };
            sample.mask = Some(mask.ok_or_else(missing)?.clone());
        }
    }
    let mut classes = BTreeSet::new();
    for (_, folder) in split_folders(path) {
        classes.extend(names(&read_folder(&folder)?.folders));
    }
    Ok((samples, classes.into_iter().collect()))
}

/// Pictures in one folder, each with its partner of the same name in another.
fn twins(path: &Path, split: Split, layout: Layout) -> Result<Vec<Sample>> {
    let [first, second] = twin_names(layout);
    let folder = match path.join(first).is_dir() {
        true if split == Split::Val => None,
        true => Some(path.to_owned()),
        false => needed_split(path, split)?,
    };
    let Some(folder) = folder else { return Ok(Vec::new()) };
    let others = by_stem(&folder.join(second))?;
    let files = pictures::list(&folder.join(first))?;
    let known: BTreeSet<String> = files.iter().map(|file| stem(file)).collect();
    if let Some((_, alone)) = others.iter().find(|(stem, _)| !known.contains(*stem)) {
        return Err(Error::data(
            alone,
            format!("there is no picture of this name in {first}/; add it, or take this file away"),
        ));
    }
    let pair = |file: PathBuf| {
        let partner = others.get(&stem(&file)).cloned();
        let missing = || {
            let hint = match layout {
                Layout::Masks => "; one that is all black says that nothing is there",
                _ => "",
            };
            Error::data(&file, format!("there is no picture of this name in {second}/{hint}"))
        };
        let partner = partner.ok_or_else(missing)?;
        let (mask, clean) = if layout == Layout::Pairs {
            (None, Some(partner))
        } else {
            (Some(partner), None)
        };
        Ok(Sample {
            mask,
            clean,
            ..plain(file)
        })
    };
    files.into_iter().map(pair).collect()
}

/// Pictures in `folder` by name without extension.
fn by_stem(folder: &Path) -> Result<BTreeMap<String, PathBuf>> {
    Ok(pictures::list(folder)?
        .into_iter()
        .map(|file| (stem(&file), file))
        .collect())
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// The names of folders that name classes.
fn class_names(folders: &[PathBuf]) -> Result<Vec<String>> {
    let name = |folder: &PathBuf| {
        let name = folder.file_name().and_then(|name| name.to_str());
        let reason = "the folder's name, which names a class, is not UTF-8; rename it";
        name.map(str::to_owned).ok_or_else(|| Error::data(folder, reason))
    };
    folders.iter().map(name).collect()
}

fn names(paths: &[PathBuf]) -> Vec<String> {
    paths
        .iter()
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect()
}

/// The folder of `split`, where there is one.
fn split_folder(path: &Path, split: Split) -> Option<PathBuf> {
    split_folders(path)
        .find(|(which, _)| *which == split)
        .map(|(_, folder)| folder)
}

fn split_folders(path: &Path) -> impl Iterator<Item = (Split, PathBuf)> {
    let all = SPLITS
        .iter()
        .flat_map(|(split, names)| names.iter().map(move |name| (*split, path.join(name))));
    all.filter(|(_, folder)| folder.is_dir())
        .collect::<Vec<_>>()
        .into_iter()
}

/// The folder of `split`; only the validation split may be missing.
fn needed_split(path: &Path, split: Split) -> Result<Option<PathBuf>> {
    match split_folder(path, split) {
        None if split == Split::Val => Ok(None),
        None => {
            let name = if split == Split::Train { "train" } else { "test" };
            Err(Error::data(
                path,
                format!("this data has splits, but no {name}/ among them"),
            ))
        }
        found => Ok(found),
    }
}

/// Whether `path` is a video's by its extension.
pub fn is_video(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| VIDEOS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

fn read_folder(folder: &Path) -> Result<Content> {
    let mut content = Content {
        folders: Vec::new(),
        pictures: Vec::new(),
        videos: Vec::new(),
    };
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
        {
            continue;
        }
        if path.is_dir() {
            content.folders.push(path);
        } else if pictures::has_extension(&path) {
            content.pictures.push(path);
        } else if is_video(&path) {
            content.videos.push(path);
        }
    }
    content.folders.sort();
    content.pictures.sort();
    content.videos.sort();
    Ok(content)
}
