//! Luma at full size and chroma at half of it.

use super::{Frame, FrameMut, Image};

/// Luma weights of red and blue (BT.601), as [`super::luma_of`] has them.
const KR: f32 = 0.299;
const KB: f32 = 0.114;

/// A picture as I420 and NV12 hold it: luma 0..1, and two planes of chroma 0..1 around 0.5 (blue, red), of half the sides, rounded up.
/// Each value of chroma is the mean of the pixels that it covers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Yuv420 {
    /// One plane.
    pub luma: Image,
    /// Two planes.
    pub chroma: Image,
}

impl Yuv420 {
    /// Of a picture in RGB or grey, by BT.601 in full range.
    pub fn of(picture: &Image) -> Self {
        let luma = picture.to_color(crate::model::Color::Gray);
        let (width, height) = (picture.width, picture.height);
        let mut chroma = Image::filled(2, height.div_ceil(2), width.div_ceil(2), 0.5);
        if picture.channels == 1 {
            return Self { luma, chroma };
        }
        let half = chroma.width;
        for (plane, channel, k) in [(0, 2, KB), (1, 0, KR)] {
            let color = picture.plane(channel);
            for (i, out) in chroma.plane_mut(plane).iter_mut().enumerate() {
                let (x, y) = (2 * (i % half), 2 * (i / half));
                let (mut sum, mut count) = (0.0, 0.0);
                for row in y..(y + 2).min(height) {
                    let pair = row * width + x..row * width + (x + 2).min(width);
                    let differences = color[pair.clone()].iter().zip(&luma.data[pair]);
                    for (color, luma) in differences {
                        sum += color - luma;
                        count += 1.0;
                    }
                }
                *out += sum / count / (2.0 * (1.0 - k));
            }
        }
        Self { luma, chroma }
    }

    /// Reads an I420 or NV12 frame, code values divided by the largest code; `plane` is memory.
    pub fn read(&mut self, frame: &Frame<'_>, plane: &mut Image) {
        frame.read_component(0, &mut self.luma);
        for i in 0..2 {
            frame.read_component(1 + i, plane);
            self.chroma.reshape(2, plane.height, plane.width);
            self.chroma.plane_mut(i).copy_from_slice(&plane.data);
        }
    }

    /// Writes an I420 or NV12 frame, the inverse of [`Yuv420::read`].
    pub fn write(&self, frame: &mut FrameMut<'_>, plane: &mut Image) {
        frame.write_component(0, &self.luma);
        plane.reshape(1, self.chroma.height, self.chroma.width);
        for i in 0..2 {
            plane.data.copy_from_slice(self.chroma.plane(i));
            frame.write_component(1 + i, plane);
        }
    }

    /// As a picture in RGB, the inverse of [`Yuv420::of`] but for chroma's detail; chroma is enlarged by repetition.
    pub fn to_rgb(&self) -> Image {
        let (width, half) = (self.luma.width, self.chroma.width);
        let mut picture = Image::filled(3, self.luma.height, width, 0.0);
        let plane = self.luma.data.len();
        for (i, luma) in self.luma.data.iter().enumerate() {
            let at = i / width / 2 * half + i % width / 2;
            let [blue, red] = [0, 1].map(|plane| self.chroma.plane(plane)[at] - 0.5);
            let (blue, red) = (2.0 * (1.0 - KB) * blue, 2.0 * (1.0 - KR) * red);
            let green = -(KB * blue + KR * red) / (1.0 - KR - KB);
            for (channel, difference) in [red, green, blue].into_iter().enumerate() {
                picture.data[channel * plane + i] = luma + difference;
            }
        }
        picture
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_come_back_but_for_fine_chroma() {
        for (width, height) in [(6, 4), (5, 3), (1, 1)] {
            // Luma differs from pixel to pixel, colour from one 2x2 block to the next.
            let value = |i: usize| {
                let (channel, at) = (i / (width * height), i % (width * height));
                let (x, y) = (at % width, at / width);
                0.3 + 0.1 * (at * 7 % 5) as f32 / 5.0 + 0.05 * (channel * (x / 2 + y / 2)) as f32
            };
            let data = (0..3 * width * height).map(value).collect();
            let picture = Image {
                channels: 3,
                height,
                width,
                data,
            };
            let yuv = Yuv420::of(&picture);
            assert_eq!(
                (yuv.chroma.width, yuv.chroma.height),
                (width.div_ceil(2), height.div_ceil(2))
            );
            let back = yuv.to_rgb();
            assert!(
                back.data.iter().zip(&picture.data).all(|(a, b)| (a - b).abs() < 1e-5),
                "{width}x{height}"
            );
        }
        let grey = Image::filled(1, 3, 3, 0.4);
        let yuv = Yuv420::of(&grey);
        assert!(yuv.luma == grey && yuv.chroma == Image::filled(2, 2, 2, 0.5));
    }

    #[test]
    fn codes_are_those_of_the_standard() {
        // BT.601 in full range: red is Y 76.2, Cb 85.0, Cr 255.5.
        let red = Image {
            data: [[1.0; 4], [0.0; 4], [0.0; 4]].concat(),
            ..Image::filled(3, 2, 2, 0.0)
        };
        let yuv = Yuv420::of(&red);
        assert!((yuv.luma.data[0] - 0.299).abs() < 1e-6);
        assert!((yuv.chroma.data[0] - (0.5 - 0.299 / 1.772)).abs() < 1e-6 && (yuv.chroma.data[1] - 1.0).abs() < 1e-6);
    }
}
