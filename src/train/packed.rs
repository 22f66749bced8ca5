//! Training pictures kept in memory, a byte a value.

use rand::RngExt;
use rand_pcg::Pcg64;
use rayon::prelude::*;

use super::samples::Sets;
use crate::Result;
use crate::data::layout::{Dataset, Sample};
use crate::model::{Color, Resize};
use crate::pixels::{Image, Placement};

/// A picture in 8 bits: a quarter of an [`Image`]'s memory, and exact for 8-bit files.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    channels: usize,
    height: usize,
    width: usize,
    data: Vec<u8>,
}

impl Packed {
    /// Rounds to 8 bits, clamped to 0..1.
    pub fn new(image: &Image) -> Self {
        let data = image
            .data
            .iter()
            .map(|&x| (x.clamp(0.0, 1.0) * 255.0).round() as u8)
            .collect();
        Self {
            channels: image.channels,
            height: image.height,
            width: image.width,
            data,
        }
    }

    /// `[width, height]`.
    pub fn size(&self) -> [usize; 2] {
        [self.width, self.height]
    }

    /// The whole picture.
    pub fn image(&self) -> Image {
        self.crop([0, 0], self.size())
    }

    /// The part of `size` = `[width, height]` whose left top corner is `at` = `[x, y]`; must lie inside.
    pub fn crop(&self, at: [usize; 2], size: [usize; 2]) -> Image {
        let [width, height] = size;
        let mut data = Vec::with_capacity(self.channels * width * height);
        for channel in 0..self.channels {
            for row in at[1]..at[1] + height {
                let start = (channel * self.height + row) * self.width + at[0];
                data.extend(self.data[start..start + width].iter().map(|&x| f32::from(x) / 255.0));
            }
        }
        Image {
            channels: self.channels,
            height,
            width,
            data,
        }
    }

    /// A random part of `size` = `[width, height]`; a picture that is too small is continued by reflection.
    ///
    /// Places are drawn from half a part before the picture to half a part behind it and moved inside: the picture's edges, which a
    /// network's padding makes look like nothing else, would hardly be seen otherwise.
    pub fn random_crop(&self, size: [usize; 2], rng: &mut Pcg64) -> Image {
        self.random_part(size, 1, rng).pad_to(size)
    }

    /// What of the picture lies in a random part, as [`Packed::random_crop`] draws it, of the picture continued to the right and below to
    /// multiples of `multiple`: at least half a part, or where the picture is smaller all of it.
    pub fn random_part(&self, size: [usize; 2], multiple: usize, rng: &mut Pcg64) -> Image {
        let spans = [0, 1].map(|axis| {
            let length = self.size()[axis];
            let last = last_start(length, size[axis], multiple);
            let at = rng
                .random_range(0..=last + size[axis])
                .saturating_sub(size[axis] / 2)
                .min(last);
            (at, size[axis].min(length - at))
        });
        self.crop(spans.map(|(at, _)| at), spans.map(|(_, length)| length))
    }

    /// Whether it has one plane or three equal ones.
    pub fn is_gray(&self) -> bool {
        let plane = self.height * self.width;
        self.channels == 1
            || (self.data[..plane] == self.data[plane..2 * plane] && self.data[..plane] == self.data[2 * plane..])
    }

    fn to_color(&self, color: Color) -> Self {
        if self.channels == color.channels() {
            return self.clone();
        }
        Self::new(&self.image().to_color(color))
    }
}

/// Where a part of `side` pixels may start at the latest on an axis of `length` pixels that is continued to a multiple of `multiple`: it
/// shows half a part of the picture, or where the picture is smaller all of it.
pub fn last_start(length: usize, side: usize, multiple: usize) -> usize {
    let last = length.next_multiple_of(multiple).saturating_sub(side);
    last.min(length - length.min(side.div_ceil(2)))
}

/// Reads all of `samples`, each passed through `fit`. The first unreadable picture is the error.
pub fn load(data: &Dataset, samples: &[Sample], fit: impl Fn(Image) -> Image + Sync) -> Result<Vec<Packed>> {
    samples
        .par_iter()
        .map(|sample| Ok(Packed::new(&fit(data.read(sample)?))))
        .collect()
}

/// Training and held-out pictures brought to one size `[width, height]`, where one is given, and to one colour: `color`, or
/// what the training pictures are.
pub fn fitted(
    sets: &Sets,
    size: Option<([usize; 2], Resize)>,
    color: Option<Color>,
) -> Result<(Vec<Packed>, Vec<Packed>, Color)> {
    let fit = |image: Image| match size {
        Some((size, resize)) => Placement::new([image.width, image.height], size, resize).apply(&image),
        None => image,
    };
    let mut train = load(&sets.train, &sets.train.samples, fit)?;
    let mut val = load(&sets.val, &sets.val.samples, fit)?;
    let color = color.unwrap_or(color_of(&train));
    to_color(&mut train, color);
    to_color(&mut val, color);
    Ok((train, val, color))
}

/// Grey when all the pictures are grey, else colour.
pub fn color_of<'a>(pictures: impl IntoIterator<Item = &'a Packed>) -> Color {
    if pictures.into_iter().all(Packed::is_gray) {
        Color::Gray
    } else {
        Color::Rgb
    }
}

/// All the pictures in `color`.
pub fn to_color(pictures: &mut [Packed], color: Color) {
    pictures
        .par_iter_mut()
        .for_each(|picture| *picture = picture.to_color(color));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::stream;

    #[test]
    fn crops_are_the_picture() {
        let data: Vec<f32> = (0..24).map(|i| i as f32 / 255.0).collect();
        let packed = Packed::new(&Image {
            channels: 2,
            height: 3,
            width: 4,
            data: data.clone(),
        });
        assert_eq!(packed.image().data, data);
        let crop = packed.crop([1, 2], [2, 1]);
        let expected: Vec<f32> = [9, 10, 21, 22].iter().map(|&i| i as f32 / 255.0).collect();
        assert_eq!((crop.channels, crop.width, crop.height, crop.data), (2, 2, 1, expected));
    }

    #[test]
    fn parts_reach_beyond_the_lower_right_and_show_half_a_part() {
        let data: Vec<f32> = (0..35 * 20).map(|i| (i % 35) as f32 / 255.0).collect();
        #[rustfmt::skip]
        let packed = Packed::new(&Image { channels: 1, height: 20, width: 35, data });
        let mut cut = 0;
        for item in 0..200 {
            let part = packed.random_part([16; 2], 16, &mut stream(1, 0, item));
            let start = (255.0 * part.data[0]).round() as usize;
            assert!(part.width == 16 || start + part.width == 35, "from {start}");
            assert!(part.width >= 8 && part.height >= 8 && start + part.width <= 35);
            cut += usize::from(part.width < 16);
            let whole = packed.random_part([64; 2], 16, &mut stream(2, 0, item));
            assert_eq!((whole.width, whole.height), (35, 20), "a part that is larger shows all");
        }
        assert!((20..180).contains(&cut), "{cut}");
    }

    #[test]
    fn grey_is_seen_in_three_planes() {
        let plane = [0.1f32, 0.5, 2.0];
        let rgb = |last: f32| {
            let mut data = [plane, plane, plane].concat();
            data[8] = last;
            Packed::new(&Image {
                channels: 3,
                height: 1,
                width: 3,
                data,
            })
        };
        assert_eq!(color_of(&[rgb(2.0)]), Color::Gray);
        assert_eq!(color_of(&[rgb(2.0), rgb(0.2)]), Color::Rgb);
    }
}
