//! What motion is looked for in.

use super::WINDOW;
use crate::pixels::{Image, luma_of};

/// Planes of a pyramid, each half of the one before.
pub(super) const PLANES: usize = 4;
/// Farthest motion, in pixels of the frame.
pub(super) const FARTHEST: usize = 40;

/// A frame in grey at full, half, … size.
#[derive(Debug, Clone, Default)]
pub struct Pyramid {
    pub(super) planes: [Plane; PLANES],
}

/// A plane whose border pixels go on beyond it.
#[derive(Debug, Clone, Default)]
pub(super) struct Plane {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Rows and columns beyond each border.
    pad: usize,
    /// 0..255: differences of bytes are summed by instructions of their own.
    data: Vec<u8>,
}

impl Pyramid {
    /// That of `picture`, of one plane or three.
    pub fn of(picture: &Image) -> Self {
        let mut pyramid = Self::default();
        pyramid.read(picture);
        pyramid
    }

    /// Makes it that of another picture; the memory is used again.
    pub fn read(&mut self, picture: &Image) {
        let (first, smaller) = self.planes.split_first_mut().expect("a pyramid has planes");
        first.reshape(picture.width, picture.height, 0);
        let (width, pitch) = (picture.width, first.pitch());
        for y in 0..picture.height {
            let row = |channel: usize| &picture.plane(channel)[y * width..][..width];
            let out = &mut first.data[(y + first.pad) * pitch + first.pad..][..width];
            let byte = |value: f32| (255.0 * value + 0.5) as u8;
            if picture.channels == 3 {
                for (((out, r), g), b) in out.iter_mut().zip(row(0)).zip(row(1)).zip(row(2)) {
                    *out = byte(luma_of([*r, *g, *b]));
                }
            } else {
                out.iter_mut().zip(row(0)).for_each(|(out, x)| *out = byte(*x));
            }
        }
        first.extend();
        let mut before = &*first;
        for (i, plane) in smaller.iter_mut().enumerate() {
            plane.halve(before, i + 1);
            before = plane;
        }
    }
}

impl Plane {
    fn reshape(&mut self, width: usize, height: usize, level: usize) {
        let pad = (FARTHEST >> level) + 1 + WINDOW;
        (self.width, self.height, self.pad) = (width, height, pad);
        self.data.resize((width + 2 * pad) * (height + 2 * pad), 0);
    }

    pub(super) fn pitch(&self) -> usize {
        self.width + 2 * self.pad
    }

    /// Repeats the border pixels.
    fn extend(&mut self) {
        let (pad, pitch, width) = (self.pad, self.pitch(), self.width);
        for row in self.data.chunks_exact_mut(pitch).skip(pad).take(self.height) {
            let (first, last) = (row[pad], row[pad + width - 1]);
            row[..pad].fill(first);
            row[pad + width..].fill(last);
        }
        let inside = pad * pitch..(pad + self.height) * pitch;
        for y in 0..pad {
            self.data.copy_within(inside.start..inside.start + pitch, y * pitch);
            self.data
                .copy_within(inside.end - pitch..inside.end, inside.end + y * pitch);
        }
    }

    /// Means of four pixels of `of`.
    fn halve(&mut self, of: &Plane, level: usize) {
        self.reshape(of.width.div_ceil(2), of.height.div_ceil(2), level);
        let (pitch, width) = (self.pitch(), self.width);
        for y in 0..self.height {
            let [above, below] = [0, 1].map(|i| &of.data[(of.pad + 2 * y + i) * of.pitch() + of.pad..][..2 * width]);
            let out = &mut self.data[(self.pad + y) * pitch + self.pad..][..width];
            let pairs = above.chunks_exact(2).zip(below.chunks_exact(2));
            for (out, (a, b)) in out.iter_mut().zip(pairs) {
                *out = (([a[0], a[1], b[0], b[1]].map(u16::from).iter().sum::<u16>() + 2) / 4) as u8;
            }
        }
        self.extend();
    }

    /// From the pixel of column `x` and row `y` on, which may lie beyond the borders by as much as the plane goes on.
    pub(super) fn at(&self, x: isize, y: isize) -> &[u8] {
        let pad = self.pad as isize;
        &self.data[((y + pad) * self.pitch() as isize + x + pad) as usize..]
    }
}
