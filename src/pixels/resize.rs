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
            &[0.5977959, 0.6572064, 0.5487347, 0.5911837, 0.4297143, 0.4987755],
        ),
        (
            [7, 5],
            [2, 3],
            &[0.5965050, 0.6039070, 0.5150284, 0.5057054, 0.6080930, 0.6083588],
        ),
        (
            [3, 2],
            [5, 4],
            &[
                0.0000000, 0.2704000, 0.6760000, 0.6280000, 0.5960000, 0.1910000, 0.3350000, 0.5510000, 0.6146000,
                0.6570000, 0.5730000, 0.4642000, 0.3010000, 0.5878000, 0.7790000, 0.7640000, 0.5288000, 0.1760000,
                0.5744000, 0.8400000,
            ],
        ),
        (
            [6, 3],
            [4, 5],
            &[
                0.2535000, 0.6413333, 0.5493333, 0.5910000, 0.4747000, 0.6153778, 0.6691555, 0.7314000, 0.8065000,
                0.5764444, 0.8488889, 0.9420000, 0.4711000, 0.5396444, 0.4952889, 0.4854000, 0.2475000, 0.5151111,
                0.2595555, 0.1810000,
            ],
        ),
        ([1, 3], [2, 2], &[0.2535000, 0.2535000, 0.6260000, 0.6260000]),
        ([97, 64], [2, 2], &[0.5132455, 0.5109827, 0.5130537, 0.5109394]),
    ];
}
