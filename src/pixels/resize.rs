//! Resizing.

use super::Image;
use super::separable::{Taps, resample};

impl Image {
    /// Antialiased bilinear resize: a triangle filter, as wide as the step when it shrinks; pixel centres at halves.
    /// The same as Pillow's `resize(BILINEAR)` on floats.
    ///
    /// # Panics
    /// If a side of the picture or of the result is 0.
    pub fn resize(&self, width: usize, height: usize) -> Image {
        assert!(
            [self.width, self.height, width, height].iter().all(|side| *side > 0),
            "cannot resize {}x{} to {width}x{height}",
            self.width,
            self.height
        );
        if [width, height] == [self.width, self.height] {
            return self.clone();
        }
        let taps = |from: usize, to: usize| Taps::triangle(from, to, from as f64 / to as f64, 0.0, true);
        resample(self, &taps(self.width, width), &taps(self.height, height))
    }
}

#[cfg(test)]
mod tests {
    use super::Image;

    fn gradient(width: usize, height: usize) -> Image {
        let value = |i: usize| ((i * 7919 + i * i * 31) % 251) as f32 / 250.0;
        Image {
            channels: 1,
            height,
            width,
            data: (0..width * height).map(value).collect(),
        }
    }

    /// By Pillow 13: with `i = np.arange(w * h)` and `a = ((i * 7919 + i * i * 31) % 251 / 250).reshape(h, w)`,
    /// `Image.fromarray(a.astype("f")).resize((W, H), Image.BILINEAR)`.
    #[test]
    fn equals_pillow() {
        for (from, to, wanted) in PILLOW {
            let out = gradient(from[0], from[1]).resize(to[0], to[1]);
            assert_eq!(out.data.len(), wanted.len());
            for (got, wanted) in out.data.iter().zip(*wanted) {
                assert!(
                    (got - wanted).abs() < 2e-6,
                    "{from:?} to {to:?}: {:?}, Pillow says {wanted:?}",
                    out.data
                );
            }
        }
    }

    #[test]
    fn constants_stay_exactly() {
        for (from, to) in [
            ([1, 1], [5, 7]),
            ([37, 23], [8, 8]),
            ([5, 9], [64, 3]),
            ([4096, 3], [255, 2]),
        ] {
            let out = Image::filled(3, from[1], from[0], 0.1).resize(to[0], to[1]);
            assert_eq!(out, Image::filled(3, to[1], to[0], 0.1));
        }
    }

    #[test]
    fn the_same_size_is_the_same_picture() {
        assert_eq!(gradient(13, 7).resize(13, 7), gradient(13, 7));
        // One axis alone leaves the other untouched: every row of a doubled picture of equal rows is the row itself.
        let row = gradient(13, 1);
        let tall = row.resize(13, 4);
        assert!(tall.data.chunks(13).all(|r| r == row.data));
    }

    #[test]
    fn channels_do_not_mix() {
        let mut image = Image::filled(3, 6, 10, 0.25);
        image.plane_mut(1).copy_from_slice(&gradient(10, 6).data);
        let out = image.resize(4, 5);
        assert_eq!(out.plane(1), gradient(10, 6).resize(4, 5).data);
        assert!(out.plane(0).iter().chain(out.plane(2)).all(|v| *v == 0.25));
    }

    type Case = ([usize; 2], [usize; 2], &'static [f32]);
    const PILLOW: &[Case] = &[
        (
            [5, 4],
            [3, 2],
            &[0.597796, 0.657206, 0.548735, 0.591184, 0.429714, 0.498775],
        ),
        (
            [7, 5],
            [2, 3],
            &[0.596505, 0.603907, 0.515028, 0.505705, 0.608093, 0.608359],
        ),
        (
            [3, 2],
            [5, 4],
            &[
                0.0, 0.2704, 0.676, 0.628, 0.596, 0.191, 0.335, 0.551, 0.6146, 0.657, 0.573, 0.4642, 0.301, 0.5878,
                0.779, 0.764, 0.5288, 0.176, 0.5744, 0.84,
            ],
        ),
        (
            [6, 3],
            [4, 5],
            &[
                0.2535, 0.641333, 0.549333, 0.591, 0.4747, 0.615378, 0.669156, 0.7314, 0.8065, 0.576444, 0.848889,
                0.942, 0.4711, 0.539644, 0.495289, 0.4854, 0.2475, 0.515111, 0.259555, 0.181,
            ],
        ),
        ([1, 3], [2, 2], &[0.2535, 0.2535, 0.626, 0.626]),
        ([97, 64], [2, 2], &[0.513246, 0.510983, 0.513054, 0.510939]),
    ];
}
