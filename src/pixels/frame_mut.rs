//! Frames written.

use super::color::{self, Coding, Weights};
use super::frame::{ROWS_A_TASK, check};
use super::{Colorimetry, Frame, Image, PixelFormat};
use crate::Result;
use crate::kernels::team::share;
use crate::model::Color;

/// A [`Frame`] to write to.
#[derive(Debug)]
pub struct FrameMut<'a> {
    /// Layout of the planes.
    pub format: PixelFormat,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// One slice a plane.
    pub planes: Vec<&'a mut [u8]>,
    /// Bytes from row to row, one a plane.
    pub strides: Vec<usize>,
    /// How to write the values.
    pub colorimetry: Colorimetry,
}

impl<'a> FrameMut<'a> {
    /// As [`Frame::new`].
    pub fn new(
        format: PixelFormat,
        width: usize,
        height: usize,
        planes: Vec<&'a mut [u8]>,
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

    /// The same frame to read.
    pub fn as_frame(&self) -> Frame<'_> {
        Frame {
            format: self.format,
            width: self.width,
            height: self.height,
            planes: self.planes.iter().map(|plane| &**plane).collect(),
            strides: self.strides.clone(),
            colorimetry: self.colorimetry,
        }
    }

    /// Writes a picture of the frame's size, clamped to 0..1 and rounded; what is not a number becomes 0.
    ///
    /// A picture of one plane goes to all of R, G, B, or to Y with neutral chroma; one of three goes to grey as BT.601 luma.
    /// Chroma of subsampled formats is the mean of the pixels it covers. Alpha and padding stay as they are.
    ///
    /// # Panics
    /// If the picture has another size, or neither 1 nor 3 channels.
    pub fn write(&mut self, image: &Image) {
        assert_eq!(
            [image.width, image.height],
            [self.width, self.height],
            "the picture must have the frame's size"
        );
        assert!(
            matches!(image.channels, 1 | 3),
            "a picture has 1 or 3 channels, not {}",
            image.channels
        );
        let luma = Coding::luma(self.colorimetry.range, self.format.component(0).step);
        match (self.format.color(), image.channels) {
            (Color::Gray, 1) => self.write_plane(0, luma, &image.data),
            (Color::Gray, _) => self.write_luma(luma, image),
            _ if !self.format.is_yuv() => self.write_packed(image),
            (_, 1) => {
                self.write_plane(0, luma, &image.data);
                self.neutral_chroma();
            }
            _ => self.write_yuv(image),
        }
    }

    /// Writes one component, the inverse of [`Frame::component`].
    ///
    /// # Panics
    /// If the picture has not the component's size or more than one channel.
    pub fn write_component(&mut self, component: usize, image: &Image) {
        let size = self.format.component_size(component, self.width, self.height);
        assert_eq!(
            ([image.width, image.height], image.channels),
            (size, 1),
            "the picture must have the component's size"
        );
        let largest = if self.format == PixelFormat::Gray16Le {
            self.colorimetry.range.largest16()
        } else {
            255
        };
        self.write_plane(component, Coding::unit(largest), &image.data);
    }

    /// Copies the alpha or padding byte of every pixel of a frame of the same format and size; nothing where there is none.
    ///
    /// # Panics
    /// If format or size differ.
    pub fn copy_alpha(&mut self, from: &Frame<'_>) {
        assert_eq!(
            (self.format, self.width, self.height),
            (from.format, from.width, from.height),
            "alpha is copied between frames of the same format and size"
        );
        let Some(byte) = self.format.spare_byte() else { return };
        share(
            self.rows(0),
            ROWS_A_TASK,
            || (),
            |(), (y, row)| {
                for (to, from) in row
                    .as_chunks_mut::<4>()
                    .0
                    .iter_mut()
                    .zip(from.row(0, y).as_chunks::<4>().0)
                {
                    to[byte] = from[byte];
                }
            },
        );
    }

    /// The rows of a plane without their padding, numbered.
    fn rows(&mut self, plane: usize) -> impl ExactSizeIterator<Item = (usize, &mut [u8])> + Send {
        let [bytes, rows] = self.format.plane_size(plane, self.width, self.height);
        self.planes[plane]
            .chunks_mut(self.strides[plane])
            .take(rows)
            .map(move |row| &mut row[..bytes])
            .enumerate()
    }

    /// Writes the BT.601 luma of a colour picture to a grey frame.
    fn write_luma(&mut self, coding: Coding, image: &Image) {
        let (format, width) = (self.format, image.width);
        let at = format.component(0);
        share(
            self.rows(0),
            ROWS_A_TASK,
            || vec![0.0; width],
            |values, (y, row)| {
                color::luma([0, 1, 2].map(|i| &image.plane(i)[y * width..][..width]), values);
                coding.write_row(format, values, row, at);
            },
        );
    }

    fn write_plane(&mut self, component: usize, coding: Coding, values: &[f32]) {
        let format = self.format;
        let at = format.component(component);
        let [width, _] = format.component_size(component, self.width, self.height);
        share(
            self.rows(at.plane),
            ROWS_A_TASK,
            || (),
            |(), (y, row)| {
                coding.write_row(format, &values[y * width..][..width], row, at);
            },
        );
    }

    fn write_packed(&mut self, image: &Image) {
        let coding = Coding::unit(255);
        let at = [0, 1, 2].map(|i| self.format.component(i));
        share(
            self.rows(0),
            ROWS_A_TASK,
            || (),
            |(), (y, row)| {
                for (i, at) in at.into_iter().enumerate() {
                    let plane = image.plane(if image.channels == 3 { i } else { 0 });
                    coding.write8(&plane[y * image.width..][..image.width], row, at);
                }
            },
        );
    }

    fn neutral_chroma(&mut self) {
        for plane in 1..self.format.planes() {
            self.rows(plane).for_each(|(_, row)| row.fill(128));
        }
    }

    fn write_yuv(&mut self, image: &Image) {
        let at = [1, 2].map(|i| self.format.component(i));
        let [across, down] = at[0].shift;
        let [columns, rows] = self.format.component_size(1, self.width, self.height);
        let [chroma_bytes, _] = self.format.plane_size(1, self.width, self.height);
        let band = BandWriter {
            image,
            weights: Weights::new(self.colorimetry.matrix),
            luma: Coding::luma(self.colorimetry.range, 1),
            luma_at: self.format.component(0),
            stride: self.strides[0],
            across,
            down,
        };
        let chroma = Coding::chroma(self.colorimetry.range);
        let scratch = || Scratch::new(self.width, columns);
        let [luma_plane, chroma_planes @ ..] = &mut self.planes[..] else {
            unreachable!("YUV formats have planes")
        };
        let bands = luma_plane.chunks_mut(self.strides[0] << down).take(rows).enumerate();
        match chroma_planes {
            [both] => {
                let bands = bands.zip(both.chunks_mut(self.strides[1]));
                share(bands, ROWS_A_TASK, scratch, |scratch, ((y, luma), both)| {
                    band.write(y, luma, scratch);
                    for (values, at) in scratch.coarse.iter().zip(at) {
                        chroma.write8(values, &mut both[..chroma_bytes], at);
                    }
                });
            }
            [cb, cr] => {
                let chroma_rows = cb.chunks_mut(self.strides[1]).zip(cr.chunks_mut(self.strides[2]));
                share(
                    bands.zip(chroma_rows),
                    ROWS_A_TASK,
                    scratch,
                    |scratch, ((y, luma), (cb, cr))| {
                        band.write(y, luma, scratch);
                        for ((values, row), at) in scratch.coarse.iter().zip([cb, cr]).zip(at) {
                            chroma.write8(values, &mut row[..chroma_bytes], at);
                        }
                    },
                );
            }
            _ => unreachable!("YUV formats have two or three planes"),
        }
    }
}

/// Rows of values on their way from RGB to YUV.
struct Scratch {
    luma: Vec<f32>,
    /// Sums of Cb and Cr over the rows of a band.
    sums: [Vec<f32>; 2],
    /// Cb and Cr at their own resolution.
    coarse: [Vec<f32>; 2],
}

impl Scratch {
    fn new(width: usize, columns: usize) -> Self {
        let pair = |n| [vec![0.0; n], vec![0.0; n]];
        Self {
            luma: vec![0.0; width],
            sums: pair(width),
            coarse: pair(columns),
        }
    }
}

/// Converts bands of one row of chroma and the rows of luma it covers.
struct BandWriter<'a> {
    image: &'a Image,
    weights: Weights,
    luma: Coding,
    luma_at: super::formats::Component,
    stride: usize,
    across: u32,
    down: u32,
}

impl BandWriter<'_> {
    /// Writes the luma of band `band`, whose first byte is `rows[0]`, and leaves its chroma in `scratch.coarse`.
    fn write(&self, band: usize, rows: &mut [u8], scratch: &mut Scratch) {
        let Scratch {
            luma,
            sums: [cb, cr],
            coarse,
        } = scratch;
        cb.fill(0.0);
        cr.fill(0.0);
        let (width, first) = (self.image.width, band << self.down);
        let count = (self.image.height - first).min(1 << self.down);
        for (y, row) in (first..first + count).zip(rows.chunks_mut(self.stride)) {
            let rgb = [0, 1, 2].map(|i| &self.image.plane(i)[y * width..][..width]);
            self.weights.add_yuv(rgb, [luma, cb, cr]);
            self.luma.write8(luma, &mut row[..width], self.luma_at);
        }
        color::narrow(cb, self.across, count, &mut coarse[0]);
        color::narrow(cr, self.across, count, &mut coarse[1]);
    }
}
