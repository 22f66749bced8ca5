//! Frames read.

use super::color::{self, Coding, Weights};
use super::separable::{Taps, resample_codes};
use super::{Colorimetry, Image, PixelFormat};
use crate::kernels::team::share;
use crate::model::Color;
use crate::{Error, Result};

/// Rows that are worth a task of their own.
pub(super) const ROWS_A_TASK: usize = 16;

/// A frame somebody else owns. Plane `i` starts at `planes[i][0]` and has rows `strides[i]` bytes apart.
#[derive(Debug, Clone)]
pub struct Frame<'a> {
    /// Layout of the planes.
    pub format: PixelFormat,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// One slice a plane, at least `strides[i] · (rows - 1)` plus a row long.
    pub planes: Vec<&'a [u8]>,
    /// Bytes from row to row, one a plane.
    pub strides: Vec<usize>,
    /// How to read the values.
    pub colorimetry: Colorimetry,
}

impl<'a> Frame<'a> {
    /// Checks that the planes are as long as format, size and strides need; the error names the plane and what it needs.
    pub fn new(
        format: PixelFormat,
        width: usize,
        height: usize,
        planes: Vec<&'a [u8]>,
        strides: Vec<usize>,
        colorimetry: Colorimetry,
    ) -> Result<Self> {
        let lengths: Vec<usize> = planes.iter().map(|plane| plane.len()).collect();
        check(format, [width, height], &lengths, &strides)?;
        Ok(Self {
            format,
            width,
            height,
            planes,
            strides,
            colorimetry,
        })
    }

    /// The frame as a picture in 0..1: RGB formats as they are, YUV by its matrix and range, grey by its range,
    /// chroma enlarged by repetition. Grey of RGB formats is BT.601 luma, grey of YUV formats is Y.
    pub fn to_image(&self, color: Color) -> Image {
        let mut image = Image::default();
        self.read(color, &mut image);
        image
    }

    /// [`Frame::to_image`] into `image`, whose memory is used again.
    pub fn read(&self, color: Color, image: &mut Image) {
        image.reshape(color.channels(), self.height, self.width);
        match (self.format.color(), color) {
            (Color::Gray, Color::Rgb) => *image = self.to_image(Color::Gray).to_color(Color::Rgb),
            (_, Color::Gray) if self.format.color() == Color::Gray || self.format.is_yuv() => {
                let bytes = self.format.component(0).step;
                self.read_plane(0, Coding::luma(self.colorimetry.range, bytes), &mut image.data);
            }
            (_, Color::Gray) => self.read_luma(image),
            _ if self.format.is_yuv() => self.read_yuv(image),
            _ => self.read_packed(image),
        }
    }

    /// One component (R, G, B or Y, U, V or grey) at its own resolution, code value divided by the largest code.
    pub fn component(&self, component: usize) -> Image {
        let mut image = Image::default();
        self.read_component(component, &mut image);
        image
    }

    /// [`Frame::component`] into `image`, whose memory is used again.
    pub fn read_component(&self, component: usize, image: &mut Image) {
        let [width, height] = self.format.component_size(component, self.width, self.height);
        image.reshape(1, height, width);
        let largest = if self.format == PixelFormat::Gray16Le {
            self.colorimetry.range.largest16()
        } else {
            255
        };
        self.read_plane(component, Coding::unit(largest), &mut image.data);
    }

    /// The frame, or the part of it that `columns` and `rows` see, resampled by them; in `color`, values in 0..1. Filters code
    /// values and then converts what is left, which is less work: the same as converting first, but for colours that lie
    /// outside of what RGB can show (YUV), and codes beyond black and white. For formats of 8 bits.
    pub(super) fn resample(&self, color: Color, columns: &Taps, rows: &Taps) -> Image {
        let [width, height] = [columns, rows].map(Taps::len);
        let codes = |components: &[usize]| {
            let at = self.format.component(components[0]);
            let offsets: Vec<usize> = components.iter().map(|i| self.format.component(*i).offset).collect();
            let [across, down] = at.shift;
            let halved = |taps: &Taps, shift: u32| (shift > 0).then(|| taps.of_pairs());
            let (fewer_columns, fewer_rows) = (halved(columns, across), halved(rows, down));
            let (columns, rows) = (
                fewer_columns.as_ref().unwrap_or(columns),
                fewer_rows.as_ref().unwrap_or(rows),
            );
            resample_codes(|row| self.row(at.plane, row), at.step, &offsets, columns, rows)
        };
        let values = |codes: &[f32], coding: &Coding, step: usize, offset: usize, out: &mut [f32]| {
            let codes = codes[offset..].iter().step_by(step);
            out.iter_mut()
                .zip(codes)
                .for_each(|(out, code)| *out = coding.of(*code));
        };
        let mut image = Image::filled(color.channels(), height, width, 0.0);
        let range = self.colorimetry.range;
        match (self.format.color(), self.format.is_yuv(), color) {
            (Color::Gray, _, _) | (_, true, Color::Gray) => {
                let mut luma = Image::filled(1, height, width, 0.0);
                values(&codes(&[0]), &Coding::luma(range, 1), 1, 0, &mut luma.data);
                luma.data.iter_mut().for_each(|x| *x = x.clamp(0.0, 1.0));
                luma.to_color(color)
            }
            (_, true, Color::Rgb) => {
                let (luma, chroma) = (Coding::luma(range, 1), Coding::chroma(range));
                let mut yuv = [0, 1, 2].map(|_| vec![0.0; width * height]);
                for (i, (coding, out)) in [luma, chroma, chroma].iter().zip(&mut yuv).enumerate() {
                    values(&codes(&[i]), coding, 1, 0, out);
                }
                let (red, rest) = image.data.split_at_mut(width * height);
                let (green, blue) = rest.split_at_mut(width * height);
                let weights = Weights::new(self.colorimetry.matrix);
                weights.to_rgb(yuv.each_ref().map(Vec::as_slice), [red, green, blue]);
                image
            }
            (_, false, _) => {
                let mut rgb = Image::filled(3, height, width, 0.0);
                let codes = codes(&[0, 1, 2]);
                for i in 0..3 {
                    values(&codes, &Coding::unit(255), 3, i, rgb.plane_mut(i));
                }
                if color == Color::Rgb { rgb } else { rgb.to_color(color) }
            }
        }
    }

    /// Row `row` of plane `plane` without its padding.
    pub(super) fn row(&self, plane: usize, row: usize) -> &'a [u8] {
        let [bytes, _] = self.format.plane_size(plane, self.width, self.height);
        &self.planes[plane][row * self.strides[plane]..][..bytes]
    }

    /// A whole component, clamped to its coding's values.
    fn read_plane(&self, component: usize, coding: Coding, out: &mut [f32]) {
        let at = self.format.component(component);
        let [width, _] = self.format.component_size(component, self.width, self.height);
        let table = coding.clamped_table();
        share(
            out.chunks_mut(width).enumerate(),
            ROWS_A_TASK,
            || (),
            |(), (y, out)| {
                let row = self.row(at.plane, y);
                if self.format == PixelFormat::Gray16Le {
                    coding.read16(row, out);
                } else {
                    color::read8(row, at, &table, out);
                }
            },
        );
    }

    fn read_packed(&self, image: &mut Image) {
        let table = Coding::unit(255).table();
        let at = [0, 1, 2].map(|i| self.format.component(i));
        share(
            rows_of_three(image),
            ROWS_A_TASK,
            || (),
            |(), (y, out)| {
                let row = self.row(0, y);
                for (out, at) in out.into_iter().zip(at) {
                    color::read8(row, at, &table, out);
                }
            },
        );
    }

    /// Luma of an RGB format.
    fn read_luma(&self, image: &mut Image) {
        let table = Coding::unit(255).table();
        let at = [0, 1, 2].map(|i| self.format.component(i));
        let rgb = || [0, 1, 2].map(|_| vec![0.0; self.width]);
        let rows = image.data.chunks_mut(self.width).enumerate();
        share(rows, ROWS_A_TASK, rgb, |rgb, (y, out)| {
            for (values, at) in rgb.iter_mut().zip(at) {
                color::read8(self.row(0, y), at, &table, values);
            }
            color::luma(rgb.each_ref().map(Vec::as_slice), out);
        });
    }

    fn read_yuv(&self, image: &mut Image) {
        let weights = Weights::new(self.colorimetry.matrix);
        let luma = Coding::luma(self.colorimetry.range, 1).table();
        let chroma = Coding::chroma(self.colorimetry.range).table();
        let at = [0, 1, 2].map(|i| self.format.component(i));
        let [across, down] = at[1].shift;
        let [columns, _] = self.format.component_size(1, self.width, self.height);
        let scratch = || ([0, 1, 2].map(|_| vec![0.0; self.width]), vec![0.0; columns]);
        share(rows_of_three(image), ROWS_A_TASK, scratch, |(yuv, coarse), (y, out)| {
            color::read8(self.row(0, y), at[0], &luma, &mut yuv[0]);
            for i in [1, 2] {
                color::read8(self.row(at[i].plane, y >> down), at[i], &chroma, coarse);
                color::widen(coarse, across, &mut yuv[i]);
            }
            weights.to_rgb(yuv.each_ref().map(Vec::as_slice), out);
        });
    }
}

/// The rows of a picture of three planes, one of each at a time, numbered.
fn rows_of_three(image: &mut Image) -> impl ExactSizeIterator<Item = (usize, [&mut [f32]; 3])> + Send {
    let (width, n) = (image.width, image.width * image.height);
    let (red, rest) = image.data.split_at_mut(n);
    let (green, blue) = rest.split_at_mut(n);
    let rows = red
        .chunks_mut(width)
        .zip(green.chunks_mut(width))
        .zip(blue.chunks_mut(width));
    rows.map(|((red, green), blue)| [red, green, blue]).enumerate()
}

/// Whether planes of `lengths` bytes with `strides` hold a frame of `[width, height]`.
pub(super) fn check(format: PixelFormat, size: [usize; 2], lengths: &[usize], strides: &[usize]) -> Result<()> {
    let [width, height] = size;
    let fail = |reason: String| {
        Err(Error::Invalid(format!(
            "{} frame of {width}x{height}: {reason}",
            format.name()
        )))
    };
    // GStreamer's caps hold sides in an i32, so a row's bytes fit any usize of 64 bits.
    let sides = 1..=i32::MAX as usize;
    if !sides.contains(&width) || !sides.contains(&height) {
        return fail("both sides must be between 1 and 2147483647 pixels".into());
    }
    if lengths.len() != format.planes() || strides.len() != format.planes() {
        return fail(format!(
            "needs {} planes and as many strides, got {} and {}",
            format.planes(),
            lengths.len(),
            strides.len()
        ));
    }
    for (plane, (&length, &stride)) in lengths.iter().zip(strides).enumerate() {
        let [bytes, rows] = format.plane_size(plane, width, height);
        if stride < bytes {
            return fail(format!(
                "plane {plane} has a stride of {stride} bytes, but a row takes {bytes}"
            ));
        }
        let needed = stride.checked_mul(rows - 1).and_then(|start| start.checked_add(bytes));
        if needed.is_none_or(|needed| length < needed) {
            return fail(format!(
                "plane {plane} is {length} bytes long, but {rows} rows of {bytes} bytes, {stride} apart, take {}",
                needed.map_or_else(|| "more than memory holds".into(), |n| n.to_string())
            ));
        }
    }
    Ok(())
}
