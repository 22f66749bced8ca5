//! Frames of every format, to pictures and back.

mod reading;
mod writing;

use rand::RngExt;

use super::*;
use crate::data::random::stream;

const SIZES: [[usize; 2]; 8] = [[1, 1], [2, 1], [1, 2], [3, 3], [5, 4], [4, 5], [17, 9], [4099, 3]];

const FULL: Colorimetry = Colorimetry {
    matrix: Matrix::Bt601,
    range: Range::Full,
};

const LIMITED: Colorimetry = Colorimetry {
    matrix: Matrix::Bt601,
    range: Range::Limited,
};

/// A frame's memory. Rows are `padding` bytes further apart than they need, and the last one ends with its last pixel.
#[derive(Clone, PartialEq, Debug)]
struct Memory {
    format: PixelFormat,
    size: [usize; 2],
    strides: Vec<usize>,
    planes: Vec<Vec<u8>>,
}

impl Memory {
    fn new(format: PixelFormat, size: [usize; 2], padding: usize, mut byte: impl FnMut(usize) -> u8) -> Self {
        let sizes = (0..format.planes()).map(|i| format.plane_size(i, size[0], size[1]));
        let (strides, planes) = sizes
            .map(|[bytes, rows]| {
                let stride = bytes + padding;
                (stride, (0..stride * (rows - 1) + bytes).map(&mut byte).collect())
            })
            .unzip();
        Self {
            format,
            size,
            strides,
            planes,
        }
    }

    fn random(format: PixelFormat, size: [usize; 2], padding: usize) -> Self {
        let seed = 7;
        println!("seed {seed}");
        let mut rng = stream(seed, size[0] as u64, size[1] as u64);
        Self::new(format, size, padding, |_| rng.random())
    }

    fn frame(&self, colorimetry: Colorimetry) -> Frame<'_> {
        let planes = self.planes.iter().map(Vec::as_slice).collect();
        Frame::new(
            self.format,
            self.size[0],
            self.size[1],
            planes,
            self.strides.clone(),
            colorimetry,
        )
        .unwrap()
    }

    fn frame_mut(&mut self, colorimetry: Colorimetry) -> FrameMut<'_> {
        let planes = self.planes.iter_mut().map(Vec::as_mut_slice).collect();
        FrameMut::new(
            self.format,
            self.size[0],
            self.size[1],
            planes,
            self.strides.clone(),
            colorimetry,
        )
        .unwrap()
    }

    /// The codes of a component at a pixel of the frame, found the slow way.
    fn code(&self, component: usize, x: usize, y: usize) -> u16 {
        let at = self.format.component(component);
        let start = (y >> at.shift[1]) * self.strides[at.plane] + (x >> at.shift[0]) * at.step + at.offset;
        let plane = &self.planes[at.plane];
        match self.format {
            PixelFormat::Gray16Le => u16::from_le_bytes([plane[start], plane[start + 1]]),
            _ => u16::from(plane[start]),
        }
    }
}

fn close(got: f32, wanted: f64, what: &str) {
    assert!((f64::from(got) - wanted).abs() < 1e-5, "{what}: {got}, not {wanted}");
}

#[test]
fn names_go_both_ways() {
    for format in PixelFormat::ALL {
        assert_eq!(PixelFormat::from_name(format.name()), Some(format));
    }
    assert_eq!(PixelFormat::from_name("YUY2"), None);
    assert_eq!(PixelFormat::from_name("gray8"), None);
}

#[test]
fn chroma_sizes_round_up() {
    let sizes = |format: PixelFormat| [0, 1, 2].map(|i| format.component_size(i, 5, 3));
    assert_eq!(sizes(PixelFormat::I420), [[5, 3], [3, 2], [3, 2]]);
    assert_eq!(sizes(PixelFormat::Nv12), [[5, 3], [3, 2], [3, 2]]);
    assert_eq!(sizes(PixelFormat::Y42b), [[5, 3], [3, 3], [3, 3]]);
    assert_eq!(sizes(PixelFormat::Y444), [[5, 3]; 3]);
    assert_eq!(PixelFormat::Nv12.plane_size(1, 5, 3), [6, 2]);
    assert_eq!(PixelFormat::Gray16Le.plane_size(0, 5, 3), [10, 3]);
}

#[test]
fn frames_that_do_not_fit_are_refused() {
    let bytes = [0; 64];
    let refused = |format, width, height, lengths: &[usize], strides: &[usize]| {
        let planes = lengths.iter().map(|n| &bytes[..*n]).collect();
        Frame::new(format, width, height, planes, strides.to_vec(), FULL)
            .unwrap_err()
            .to_string()
    };
    let short = refused(PixelFormat::I420, 5, 3, &[18, 8, 7], &[6, 4, 5]);
    assert_eq!(
        short,
        "I420 frame of 5x3: plane 2 is 7 bytes long, but 2 rows of 3 bytes, 5 apart, take 8"
    );
    assert!(refused(PixelFormat::Nv12, 5, 3, &[17, 13], &[6, 8]).contains("plane 1 is 13 bytes long"));
    assert!(refused(PixelFormat::Rgb, 2, 2, &[12], &[5]).contains("stride of 5 bytes, but a row takes 6"));
    assert!(refused(PixelFormat::I420, 2, 2, &[4], &[2]).contains("needs 3 planes"));
    assert!(refused(PixelFormat::Gray8, 0, 2, &[4], &[2]).contains("both sides"));
    assert!(refused(PixelFormat::Gray8, 2, 3, &[4], &[usize::MAX]).contains("more than memory holds"));
    assert!(
        Frame::new(
            PixelFormat::Nv12,
            5,
            3,
            vec![&bytes[..17], &bytes[..14]],
            vec![6, 8],
            FULL
        )
        .is_ok()
    );
    let mut bytes = [0; 3];
    assert!(FrameMut::new(PixelFormat::Gray8, 2, 2, vec![&mut bytes], vec![2], FULL).is_err());
}

#[test]
fn padding_reflects_and_is_cropped_off() {
    let row = |width: usize| Image {
        channels: 1,
        height: 1,
        width,
        data: (0..width).map(|x| x as f32).collect(),
    };
    assert_eq!(
        row(5).pad_to([8, 1]).data[..8],
        [0.0, 1.0, 2.0, 3.0, 4.0, 3.0, 2.0, 1.0]
    );
    // Smaller than its padding: the reflection is reflected again, as NumPy's `pad(mode="reflect")` does.
    assert_eq!(
        row(2).pad_to([8, 1]).data[..8],
        [0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
    );
    assert_eq!(
        row(3).pad_to([8, 1]).data[..8],
        [0.0, 1.0, 2.0, 1.0, 0.0, 1.0, 2.0, 1.0]
    );
    assert_eq!(
        Image::filled(3, 1, 1, 0.5).pad_to([16; 2]),
        Image::filled(3, 16, 16, 0.5)
    );
    let image = Memory::random(PixelFormat::Rgb, [13, 6], 0)
        .frame(FULL)
        .to_image(Color::Rgb);
    let padded = image.pad_to([16, 8]);
    assert_eq!((padded.width, padded.height), (16, 8));
    assert_eq!(padded.plane(2)[6 * 16..][..13], padded.plane(2)[4 * 16..][..13]);
    assert_eq!(padded.crop(0, 0, 13, 6), image);
    assert_eq!(image.pad_to([1, 1]), image);
    let extended = image.extend_to([16, 1]);
    assert_eq!((extended.width, extended.height), (16, 6));
    assert!(extended.plane(1)[13..16].iter().all(|x| *x == 0.0));
    assert_eq!(extended.crop(0, 0, 13, 6), image);
    assert_eq!(image.crop(3, 2, 4, 1).plane(1), &image.plane(1)[2 * 13 + 3..][..4]);
}
