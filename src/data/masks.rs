//! Masks that say which class each pixel of a picture belongs to.
//!
//! Two kinds are known: black and white ones, where whatever is white is of one class, and ones whose values (grey levels or
//! palette indices) are the numbers of classes, 0 for the background. In the latter, 255 stands for pixels that nobody has judged.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::Path;

use super::pictures;
use crate::atomic;
use crate::pixels::colormap::class_color;
use crate::pixels::{Image, Placement};
use crate::tasks::VOID;
use crate::{Error, Result};

/// Most classes, the background included.
pub const MOST_CLASSES: usize = 64;
/// Grey levels from black or white that compression and soft edges of a black and white mask leave.
const GRAY: u8 = 32;
/// Share of a mask's pixels that are to be nearer to black or white than that.
const CLEAR: f64 = 0.9;

/// The classes of a picture's pixels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// Pixels a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Row by row, [`VOID`] where nobody knows.
    pub classes: Vec<u8>,
}

impl Mask {
    /// For each of `classes` classes a plane of the part of `size` = `[width, height]` at `at` = `[x, y]`, 1 where the class is; 0 in all of
    /// them where nobody knows.
    ///
    /// # Panics
    /// When the part does not lie inside, or a class is not below `classes`.
    pub fn planes(&self, at: [usize; 2], [width, height]: [usize; 2], classes: usize) -> Vec<f32> {
        let mut data = vec![0.0; classes * width * height];
        for y in 0..height {
            let row = &self.classes[(at[1] + y) * self.width + at[0]..][..width];
            for (x, class) in row.iter().enumerate().filter(|(_, class)| **class != VOID) {
                data[(usize::from(*class) * height + y) * width + x] = 1.0;
            }
        }
        data
    }

    /// Writes it as a PNG with a palette, whose indices are the numbers of the classes: what [`Coding::read`] reads, and eyes tell apart. The
    /// `background` is black, and white where nobody knows.
    pub fn write(&self, path: &Path, background: Option<usize>) -> Result<()> {
        let color = |index: usize| match index {
            index if Some(index) == background => [0; 3],
            255 => [255; 3],
            index => class_color(index).map(|value| (value * 255.0).round() as u8),
        };
        let encode = |out: &mut dyn Write| -> Result<(), png::EncodingError> {
            let mut encoder = png::Encoder::new(out, self.width as u32, self.height as u32);
            encoder.set_color(png::ColorType::Indexed);
            encoder.set_palette((0..256).flat_map(color).collect::<Vec<u8>>());
            let mut writer = encoder.write_header()?;
            writer.write_image_data(&self.classes)?;
            writer.finish()
        };
        atomic::write(path, |out| encode(out).map_err(std::io::Error::from))
    }

    /// The mask, of `classes` classes, where `placement` lays its picture: each pixel is of the class that most of it is.
    pub fn placed(&self, placement: &Placement, classes: usize) -> Self {
        let size = [self.width, self.height];
        let [width, height] = placement.input;
        let pixels = width * height;
        let (mut found, mut most, mut known) = (vec![0; pixels], vec![0.0; pixels], vec![0.0; pixels]);
        // One class at a time: all planes of a large picture would be some gigabytes.
        for class in 0..classes as u8 {
            let is_there = self
                .classes
                .iter()
                .map(|of_pixel| f32::from(u8::from(*of_pixel == class)));
            let share = placement.apply(&Image {
                channels: 1,
                height: size[1],
                width: size[0],
                data: is_there.collect(),
            });
            for (pixel, share) in share.data.into_iter().enumerate() {
                known[pixel] += share;
                if share > most[pixel] {
                    (found[pixel], most[pixel]) = (class, share);
                }
            }
        }
        for (class, known) in found.iter_mut().zip(known) {
            *class = if known < 0.5 { VOID } else { *class };
        }
        Self {
            width,
            height,
            classes: found,
        }
    }
}

/// How the masks of a data set name classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// 1 from half white on, else 0.
    BlackAndWhite,
    /// By its number, below so many.
    Numbers(usize),
}

impl Coding {
    /// How these masks, which are all read, name classes. The error names a mask that fits neither kind, or says that they do not fit each
    /// other.
    pub fn found<'a>(masks: impl IntoIterator<Item = &'a Path>) -> Result<Self> {
        let (mut coding, mut first, mut folder) = (None, None, None);
        for path in masks {
            folder = folder.or(path.parent());
            let found = coding_of(&values(path)?).map_err(|reason| Error::data(path, reason))?;
            coding = match (coding, found) {
                (known, None) => known,
                (None, found) => {
                    first = Some(path);
                    found
                }
                (Some(Self::Numbers(a)), Some(Self::Numbers(b))) => Some(Self::Numbers(a.max(b))),
                (Some(known), Some(found)) if known == found => coding,
                (Some(_), Some(found)) => {
                    let (kind, other) = (found.describe(), first.unwrap_or(path).display());
                    let reason =
                        format!("this mask is {kind}, unlike `{other}`: masks of a data set are all of one kind");
                    return Err(Error::data(path, reason));
                }
            };
        }
        let folder = folder.unwrap_or(Path::new("masks"));
        coding.ok_or_else(|| Error::data(folder, "no mask here marks anything: all are black"))
    }

    /// For a person.
    pub fn describe(self) -> &'static str {
        match self {
            Self::BlackAndWhite => "black and white",
            Self::Numbers(_) => "of class numbers",
        }
    }

    /// The number of classes, the background included.
    pub fn classes(self) -> usize {
        match self {
            Self::BlackAndWhite => 2,
            Self::Numbers(classes) => classes,
        }
    }

    /// Reads the mask of a picture of `size` = `[width, height]`.
    pub fn read(self, path: &Path, size: [usize; 2]) -> Result<Mask> {
        let Values { width, height, values } = values(path)?;
        if [width, height] != size {
            let [wide, high] = size;
            let reason = format!(
                "the mask has {width}x{height} pixels, its picture {wide}x{high}; a mask has its picture's size"
            );
            return Err(Error::data(path, reason));
        }
        let class = |value: u8| match self {
            Self::BlackAndWhite => Ok(u8::from(value >= 128)),
            Self::Numbers(classes) if usize::from(value) < classes || value == VOID => Ok(value),
            Self::Numbers(classes) => {
                let reason = format!("the mask has class {value}; the classes known are 0 to {}", classes - 1);
                Err(Error::data(path, reason))
            }
        };
        let classes = values.into_iter().map(class).collect::<Result<_>>()?;
        Ok(Mask { width, height, classes })
    }
}

/// Grey levels or palette indices.
struct Values {
    width: usize,
    height: usize,
    values: Vec<u8>,
}

/// What kind a mask is; `None` of one that is all black, which fits both.
fn coding_of(mask: &Values) -> Result<Option<Coding>, String> {
    let mut counts = BTreeMap::new();
    for value in &mask.values {
        *counts.entry(*value).or_insert(0usize) += 1;
    }
    let judged = counts.keys().copied().filter(|value| *value != VOID);
    let largest = judged.max().unwrap_or(0);
    if counts.keys().all(|value| *value == 0) {
        return Ok(None);
    }
    if largest > 0 && usize::from(largest) < MOST_CLASSES {
        return Ok(Some(Coding::Numbers(usize::from(largest) + 1)));
    }
    let near = |value: u8| value <= GRAY || value >= 255 - GRAY;
    let clear: usize = counts
        .iter()
        .filter(|(value, _)| near(**value))
        .map(|(_, count)| count)
        .sum();
    if clear as f64 >= CLEAR * mask.values.len() as f64 {
        return Ok(Some(Coding::BlackAndWhite));
    }
    Err(format!(
        "this is no mask: it has {} grey levels from {} to {}; expected black and white, or the numbers of classes (up to {})",
        counts.len(),
        counts.keys().next().unwrap_or(&0),
        counts.keys().next_back().unwrap_or(&0),
        MOST_CLASSES - 1
    ))
}

fn values(path: &Path) -> Result<Values> {
    if let Some(indices) = palette_indices(path) {
        return Ok(indices);
    }
    // For its errors and limits.
    let picture = pictures::read(path)?;
    let is_gray =
        picture.channels == 1 || (picture.plane(0) == picture.plane(1) && picture.plane(1) == picture.plane(2));
    if !is_gray {
        let reason = "this is no mask: it has colours; expected black and white, or the numbers of classes as grey levels or in a palette";
        return Err(Error::data(path, reason));
    }
    if picture.plane(0).iter().any(|x| *x > 0.0 && *x < 0.5 / 255.0) {
        let reason = "this mask has 16 bits, of which the numbers of classes need 8: save it with 8 bits";
        return Err(Error::data(path, reason));
    }
    Ok(Values {
        width: picture.width,
        height: picture.height,
        values: picture.plane(0).iter().map(|x| (x * 255.0).round() as u8).collect(),
    })
}

/// The indices of a PNG file with a palette, which other readers turn into colours; `None` of other files, and of damaged ones.
fn palette_indices(path: &Path) -> Option<Values> {
    let mut decoder = png::Decoder::new(BufReader::new(File::open(path).ok()?));
    decoder.set_transformations(png::Transformations::IDENTITY);
    let mut reader = decoder.read_info().ok()?;
    let info = reader.info();
    let (width, height, bits) = (info.width as usize, info.height as usize, info.bit_depth as usize);
    if info.color_type != png::ColorType::Indexed {
        return None;
    }
    let mut bytes = vec![0; reader.output_buffer_size()?];
    let row = reader.next_frame(&mut bytes).ok()?.line_size;
    let rows = bytes.chunks(row).take(height);
    // The first pixel of a byte is in its highest bits.
    let pixel = |row: &[u8], x: usize| {
        let at = x * bits;
        row[at / 8] >> (8 - bits - at % 8) & (0xff >> (8 - bits))
    };
    let values = rows.flat_map(|row| (0..width).map(move |x| pixel(row, x))).collect();
    Some(Values { width, height, values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// Writes a PNG of `values` in rows of three; with `bits` as indices of a palette, else as grey levels.
    fn written(folder: &Path, name: &str, values: &[u8], bits: Option<png::BitDepth>) -> PathBuf {
        let path = folder.join(name);
        let file = File::create(&path).unwrap();
        let mut encoder = png::Encoder::new(file, 3, values.len() as u32 / 3);
        let depth = bits.unwrap_or(png::BitDepth::Eight);
        if bits.is_some() {
            encoder.set_color(png::ColorType::Indexed);
            // No colour is its index.
            encoder.set_palette((0..16).flat_map(|i| [255 - i, 7, 3 * i]).collect::<Vec<u8>>());
        }
        encoder.set_depth(depth);
        let mut packed = Vec::new();
        for row in values.chunks(3) {
            let bits = depth as usize;
            let mut line = vec![0u8; (3 * bits).div_ceil(8)];
            for (x, value) in row.iter().enumerate() {
                line[x * bits / 8] |= value << (8 - bits - x * bits % 8);
            }
            packed.extend(line);
        }
        encoder.write_header().unwrap().write_image_data(&packed).unwrap();
        path
    }

    #[test]
    fn masks_are_black_and_white_or_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, values: &[u8], bits| written(folder.path(), name, values, bits);
        let white = file("white.png", &[0, 255, 255, 0, 3, 250], None);
        let black = file("black.png", &[0; 6], None);
        let numbers = file("numbers.png", &[0, 1, 2, 0, 255, 4], None);
        let few = file("few.png", &[0, 1, 1, 0, 1, 1], None);
        let found = |paths: &[&PathBuf]| Coding::found(paths.iter().map(|path| path.as_path()));
        assert_eq!(found(&[&white, &black]).unwrap(), Coding::BlackAndWhite);
        assert_eq!(found(&[&black, &few, &numbers]).unwrap(), Coding::Numbers(5));
        assert_eq!(
            Coding::BlackAndWhite.read(&white, [3, 2]).unwrap().classes,
            [0, 1, 1, 0, 0, 1]
        );
        assert_eq!(
            Coding::Numbers(5).read(&numbers, [3, 2]).unwrap().classes,
            [0, 1, 2, 0, VOID, 4]
        );
        for bits in [png::BitDepth::Two, png::BitDepth::Four, png::BitDepth::Eight] {
            let path = file("palette.png", &[0, 1, 2, 3, 1, 0], Some(bits));
            assert_eq!(found(&[&path]).unwrap(), Coding::Numbers(4), "{bits:?}");
            let mask = Coding::Numbers(4).read(&path, [3, 2]).unwrap();
            assert_eq!(mask.classes, [0, 1, 2, 3, 1, 0], "{bits:?}");
        }
    }

    #[test]
    fn a_mask_that_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let mask = Mask {
            width: 3,
            height: 2,
            classes: vec![0, 1, 2, 63, VOID, 0],
        };
        mask.write(&path, Some(0)).unwrap();
        assert_eq!(Coding::Numbers(64).read(&path, [3, 2]).unwrap(), mask);
        let shown = pictures::read(&path).unwrap();
        let pixel = |i: usize| [0, 1, 2].map(|channel| shown.plane(channel)[i]);
        assert_eq!((pixel(0), pixel(4)), ([0.0; 3], [1.0; 3]));
        assert_eq!(pixel(1), class_color(1));
        assert!(mask.write(&folder.path().join("no/mask.png"), None).is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_mask_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, values: &[u8]| written(folder.path(), name, values, None);
        let text = |result: Result<Coding>| result.unwrap_err().to_string();
        let found = |paths: &[&PathBuf]| text(Coding::found(paths.iter().map(|path| path.as_path())));
        let photo = file("photo.png", &(0..90).map(|i| 40 + 2 * i).collect::<Vec<u8>>());
        assert!(found(&[&photo]).contains("photo.png") && found(&[&photo]).contains("no mask: it has 90 grey levels"));
        let white = file("white.png", &[0, 255, 255]);
        let numbers = file("numbers.png", &[0, 1, 2]);
        assert!(found(&[&white, &numbers]).contains("numbers.png: this mask is of class numbers, unlike"));
        let black = file("black.png", &[0, 0, 0]);
        assert!(found(&[&black]).contains("all are black"));
        assert!(found(&[&folder.path().join("none.png")]).contains("none.png"));
        let read = |coding: Coding, path, size| coding.read(path, size).unwrap_err().to_string();
        assert!(read(Coding::BlackAndWhite, &white, [2, 1]).contains("the mask has 3x1 pixels, its picture 2x1"));
        assert!(read(Coding::Numbers(2), &numbers, [3, 1]).contains("class 2; the classes known are 0 to 1"));
        let color = folder.path().join("color.png");
        pictures::write(
            &color,
            &crate::pixels::Image {
                channels: 3,
                height: 1,
                width: 1,
                data: vec![1.0, 0.0, 0.0],
            },
        )
        .unwrap();
        assert!(found(&[&color]).contains("it has colours"));
        let deep = folder.path().join("deep.png");
        let mut encoder = png::Encoder::new(File::create(&deep).unwrap(), 3, 1);
        encoder.set_depth(png::BitDepth::Sixteen);
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&[0, 0, 0, 1, 0, 3]).unwrap();
        writer.finish().unwrap();
        assert!(found(&[&deep]).contains("16 bits"));
    }
}
