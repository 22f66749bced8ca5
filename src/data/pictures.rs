//! Pictures in files.

use std::io::{BufReader, BufWriter, Cursor, Write};
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

use crate::atomic::temporary_beside;
use crate::pixels::Image;
use crate::{Error, Result};

/// Extensions that count as pictures, in lower case.
pub const EXTENSIONS: [&str; 10] = ["png", "jpg", "jpeg", "bmp", "tif", "tiff", "pgm", "ppm", "pnm", "webp"];

/// Most columns and rows of a picture.
const MAX_SIDE: u32 = 1 << 15;
/// Most bytes of a file, and of a picture in memory: more is a mistake or an attack.
const MAX_BYTES: u64 = 1 << 30;
/// Of the JPEG files that [`write`] makes.
const JPEG_QUALITY: u8 = 95;

/// Reads a picture: grey files as one plane, others as three, 0..1. 16-bit files keep their precision, transparency is left out,
/// and the picture is turned upright by its EXIF orientation. The error names the file and says whether it cannot be read, is no
/// picture, breaks off or is too large.
pub fn read(path: &Path) -> Result<Image> {
    let length = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
    if length > MAX_BYTES {
        return Err(Error::data(path, format!("too large for a picture: {length} bytes")));
    }
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    if bytes.is_empty() {
        return Err(Error::data(path, "not a picture: the file is empty"));
    }
    let picture = decode(&bytes).map_err(|e| Error::data(path, explain(&e)))?;
    if picture.width() == 0 || picture.height() == 0 {
        return Err(Error::data(path, "not a picture: it has no pixels"));
    }
    Ok(from_dynamic(&picture))
}

fn decode(bytes: &[u8]) -> Result<DynamicImage, ImageError> {
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits.clone());
    let is_jpeg = reader.format() == Some(ImageFormat::Jpeg);
    let mut decoder = reader.into_decoder()?;
    limits.reserve(decoder.total_bytes())?;
    let orientation = orientation(&mut decoder);
    let mut picture = DynamicImage::from_decoder(decoder)?;
    // The JPEG decoder fills up a file that breaks off; without an end marker it did.
    if is_jpeg && !ends_as_jpeg(bytes) {
        return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
    }
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// An unreadable EXIF block is no reason to refuse the pixels.
fn orientation(decoder: &mut impl ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

/// `[width, height]` that [`read`] would give, from the file's header alone. Errors as there.
pub fn size(path: &Path) -> Result<[usize; 2]> {
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let header = || -> Result<[usize; 2], ImageError> {
        let reader = ImageReader::new(BufReader::new(file)).with_guessed_format()?;
        let mut decoder = reader.into_decoder()?;
        let (width, height) = decoder.dimensions();
        let mut size = [width as usize, height as usize];
        if lies_on_its_side(orientation(&mut decoder)) {
            size.reverse();
        }
        Ok(size)
    };
    header().map_err(|e| Error::data(path, explain(&e)))
}

/// Whether rows of the file are columns of the upright picture.
fn lies_on_its_side(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90 | Orientation::Rotate270 | Orientation::Rotate90FlipH | Orientation::Rotate270FlipH
    )
}

/// Whether there is an end marker (FF D9) after the first scan (FF DA) of the picture itself: thumbnails lie in segments before it.
fn ends_as_jpeg(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        if marker == 0xda {
            return bytes[at..].windows(2).any(|pair| pair == [0xff, 0xd9]);
        }
        at += if marker == 0xff {
            1
        } else {
            2 + usize::from(u16::from_be_bytes([high, low]))
        };
    }
    false
}

/// What is wrong, for a person.
fn explain(error: &ImageError) -> String {
    match error {
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the picture is truncated: the file ends before its last row".into()
        }
        ImageError::Limits(_) => {
            format!("too large for a picture ({error}): at most {MAX_SIDE} pixels a side, 1 GiB in all")
        }
        ImageError::Unsupported(_) => {
            format!(
                "not a picture of a known format ({error}); known are {}",
                EXTENSIONS.join(", ")
            )
        }
        _ => format!("the picture is damaged: {error}"),
    }
}

/// Grey pictures as one plane, others as three, transparency left out.
fn from_dynamic(picture: &DynamicImage) -> Image {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    let planes = |channels, data| Image {
        channels,
        height,
        width,
        data,
    };
    match picture {
        DynamicImage::ImageLuma8(p) => planes(1, p.iter().map(|&v| f32::from(v) / 255.0).collect()),
        DynamicImage::ImageLumaA8(p) => planes(1, p.pixels().map(|p| f32::from(p.0[0]) / 255.0).collect()),
        DynamicImage::ImageLuma16(p) => planes(1, p.iter().map(|&v| f32::from(v) / 65535.0).collect()),
        DynamicImage::ImageLumaA16(p) => planes(1, p.pixels().map(|p| f32::from(p.0[0]) / 65535.0).collect()),
        DynamicImage::ImageRgb8(p) => planes(3, planar(p, 3, |v| f32::from(v) / 255.0)),
        DynamicImage::ImageRgba8(p) => planes(3, planar(p, 4, |v| f32::from(v) / 255.0)),
        DynamicImage::ImageRgb16(p) => planes(3, planar(p, 3, |v| f32::from(v) / 65535.0)),
        DynamicImage::ImageRgba16(p) => planes(3, planar(p, 4, |v| f32::from(v) / 65535.0)),
        other => planes(3, planar(&other.to_rgb32f(), 3, |v| v)),
    }
}

/// The first three of every `step` interleaved values, as planes.
fn planar<T: Copy>(interleaved: &[T], step: usize, value: impl Fn(T) -> f32) -> Vec<f32> {
    (0..3)
        .flat_map(|c| interleaved.iter().skip(c).step_by(step))
        .map(|&v| value(v))
        .collect()
}

/// Writes an 8-bit picture (PNG, JPEG and so on by the extension): to a temporary file beside it, then renamed.
pub fn write(path: &Path, image: &Image) -> Result<()> {
    let format = ImageFormat::from_path(path).map_err(|_| {
        Error::data(
            path,
            format!(
                "cannot tell the format by the extension; known are {}",
                EXTENSIONS.join(", ")
            ),
        )
    })?;
    let picture = to_dynamic(image).ok_or_else(|| {
        Error::data(
            path,
            format!(
                "cannot write {} planes of {}x{} pixels",
                image.channels, image.width, image.height
            ),
        )
    })?;
    let io = |e| Error::io(path, e);
    let (mut file, temporary) = temporary_beside(path).map_err(io)?.into_parts();
    let mut out = BufWriter::new(&mut file);
    match format {
        ImageFormat::Jpeg => picture.write_with_encoder(JpegEncoder::new_with_quality(&mut out, JPEG_QUALITY)),
        _ => picture.write_to(&mut out, format),
    }
    .map_err(|e| match e {
        ImageError::IoError(e) => io(e),
        e => Error::data(path, format!("cannot be written: {e}")),
    })?;
    out.flush().map_err(io)?;
    drop(out);
    // Not flushed to the disk: thousands of pictures would wait for it thousands of times.
    drop(file);
    temporary.persist(path).map_err(|e| io(e.error))
}

/// `None` where the picture has neither one plane nor three, or its sides are too long.
fn to_dynamic(image: &Image) -> Option<DynamicImage> {
    let (width, height) = (u32::try_from(image.width).ok()?, u32::try_from(image.height).ok()?);
    let byte = |v: f32| (v.clamp(0.0, 1.0) * 255.0).round() as u8;
    match image.channels {
        1 => {
            let data = image.data.iter().map(|&v| byte(v)).collect();
            Some(DynamicImage::ImageLuma8(image::GrayImage::from_raw(
                width, height, data,
            )?))
        }
        3 => {
            let planes = [image.plane(0), image.plane(1), image.plane(2)];
            let data = (0..image.width * image.height)
                .flat_map(|i| planes.map(|plane| byte(plane[i])))
                .collect();
            Some(DynamicImage::ImageRgb8(image::RgbImage::from_raw(width, height, data)?))
        }
        _ => None,
    }
}

/// Whether `path` is called like a picture.
pub fn has_extension(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

/// Pictures in `folder` by extension, sorted by name; not in its subfolders. An error when there is none.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && has_extension(&path) && path.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        return Err(Error::data(
            folder,
            format!("no pictures in this folder; pictures end in {}", EXTENSIONS.join(", ")),
        ));
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::tempdir;

    fn ramp(channels: usize, height: usize, width: usize) -> Image {
        let n = channels * height * width;
        Image {
            channels,
            height,
            width,
            data: (0..n).map(|i| ((i * 37) % 256) as f32 / 255.0).collect(),
        }
    }

    #[test]
    fn lossless_formats_come_back_as_they_were() {
        let dir = tempdir().unwrap();
        for (name, channels) in [
            ("a.png", 1),
            ("b.png", 3),
            ("c.PPM", 3),
            ("d.tif", 3),
            ("e.bmp", 3),
            ("f.pgm", 1),
            ("g.webp", 3),
        ] {
            let path = dir.path().join(name);
            let image = ramp(channels, 5, 7);
            write(&path, &image).unwrap();
            assert_eq!(read(&path).unwrap(), image, "{name}");
            assert_eq!(size(&path).unwrap(), [7, 5], "{name}");
        }
        assert_eq!(list(dir.path()).unwrap().len(), 7);
        let path = dir.path().join("h.jpg");
        write(&path, &Image::filled(1, 16, 16, 0.5)).unwrap();
        let back = read(&path).unwrap();
        assert_eq!(back.channels, 1);
        assert!(back.data.iter().all(|v| (v - 0.5).abs() < 0.01));
    }

    #[test]
    fn values_are_rounded_and_clamped() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("a.png");
        let data = vec![-1.0, 0.4 / 255.0, 0.6 / 255.0, 2.0];
        write(
            &path,
            &Image {
                channels: 1,
                height: 1,
                width: 4,
                data,
            },
        )
        .unwrap();
        assert_eq!(read(&path).unwrap().data, [0.0, 0.0, 1.0 / 255.0, 1.0]);
    }

    #[test]
    fn sixteen_bits_and_transparency() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("deep.png");
        image::ImageBuffer::<image::Luma<u16>, _>::from_raw(2, 1, vec![1u16, 65535])
            .unwrap()
            .save(&path)
            .unwrap();
        assert_eq!(read(&path).unwrap().data, [1.0 / 65535.0, 1.0]);
        let path = dir.path().join("clear.png");
        image::RgbaImage::from_raw(1, 2, vec![255, 0, 51, 0, 0, 255, 102, 9])
            .unwrap()
            .save(&path)
            .unwrap();
        let image = read(&path).unwrap();
        assert_eq!((image.channels, image.height, image.width), (3, 2, 1));
        assert_eq!(image.data, [1.0, 0.0, 0.0, 1.0, 0.2, 0.4]);
    }

    #[test]
    fn exif_orientation_is_applied() {
        let dir = tempdir().unwrap();
        let path = dir.path().join("turned.jpg");
        let mut image = Image::filled(1, 16, 32, 0.0);
        image
            .data
            .iter_mut()
            .enumerate()
            .filter(|(i, _)| i % 32 < 16)
            .for_each(|(_, v)| *v = 1.0);
        write(&path, &image).unwrap();
        let jpeg = std::fs::read(&path).unwrap();
        // An APP1 segment with one TIFF entry: orientation (0x0112), type short, 6 = turn a quarter clockwise.
        let mut exif =
            b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        let mut turned = jpeg[..2].to_vec();
        turned.append(&mut exif);
        turned.extend_from_slice(&jpeg[2..]);
        std::fs::write(&path, turned).unwrap();
        let image = read(&path).unwrap();
        assert_eq!((image.width, image.height), (16, 32));
        assert_eq!(size(&path).unwrap(), [16, 32]);
        assert!(image.data[..8 * 16].iter().all(|&v| v > 0.9) && image.data[24 * 16..].iter().all(|&v| v < 0.1));
    }

    #[test]
    fn broken_files_are_named_with_the_reason() {
        let dir = tempdir().unwrap();
        let check = |name: &str, reason: &str| {
            let message = read(&dir.path().join(name)).expect_err(name).to_string();
            assert!(message.contains(name) && message.contains(reason), "{message}");
        };
        check("missing.png", "No such file");
        std::fs::write(dir.path().join("empty.png"), b"").unwrap();
        check("empty.png", "empty");
        std::fs::write(dir.path().join("text.png"), b"hello, this is no picture").unwrap();
        check("text.png", "not a picture");
        for name in ["cut.png", "cut.jpg", "cut.ppm"] {
            let path = dir.path().join(name);
            write(&path, &ramp(3, 64, 64)).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            check(name, "truncated");
        }
        std::fs::write(dir.path().join("bomb.ppm"), b"P6 30000 30000 255\n").unwrap();
        check("bomb.ppm", "too large");
        std::fs::create_dir(dir.path().join("only-folders")).unwrap();
        assert!(
            list(&dir.path().join("only-folders"))
                .unwrap_err()
                .to_string()
                .contains("no pictures")
        );
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let dir = tempdir().unwrap();
        let image = ramp(1, 4, 4);
        let message = write(&dir.path().join("none/a.png"), &image).unwrap_err().to_string();
        assert!(message.contains("none/a.png"), "{message}");
        assert!(
            write(&dir.path().join("a.xyz"), &image)
                .unwrap_err()
                .to_string()
                .contains("extension")
        );
        assert!(write(&dir.path().join("a.png"), &ramp(2, 4, 4)).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
