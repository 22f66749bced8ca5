//! Real defects that there are pictures and masks of.

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::data::augment::turn;
use crate::data::defects::{Defective, random_stretch, settle, transplant};
use crate::data::layout::{Dataset, Split, VideoLimits, read_mask};
use crate::model::{InputSpec, Resize};
use crate::pixels::{Image, Placement};
use crate::tasks::Scaling;
use crate::train::packed::{Packed, last_start, to_color};
use crate::train::samples::{at_least, is_good, retain};
use crate::{Error, Result};

/// Share of the training items that show a real defect, where there are some.
const SHARE: f64 = 0.5;

/// Pictures with defects.
#[derive(Default)]
pub struct Defects {
    real: Vec<Real>,
}

/// A picture with a defect.
pub struct Real {
    picture: Packed,
    scaling: Scaling,
    /// One plane of its size, 1 where it is defective.
    mask: Packed,
}

impl Defects {
    /// The pictures with masks in `folders`, brought to `fit`'s size, where there is one, for a network that takes `input`; and a digest
    /// of them.
    pub fn load(folders: &[String], fit: Option<([usize; 2], Resize)>, input: &InputSpec) -> Result<(Self, String)> {
        let limits = VideoLimits::default();
        let mut data = Dataset::open(folders, Split::Train, limits)?;
        if data.samples.iter().all(|sample| sample.mask.is_none()) {
            data = Dataset::open(folders, Split::Test, limits)?;
        }
        let data = retain(data, |sample| Ok(sample.mask.is_some() && !is_good(sample)?))?;
        at_least(
            1,
            &data,
            folders,
            "pictures with masks of defects, in images/ and masks/,",
        )?;
        let mut real = Vec::with_capacity(data.samples.len());
        for sample in &data.samples {
            let path = sample.mask.as_ref().expect("the others were left out");
            let picture = data.read(sample)?;
            let mut mask = read_mask(path, &picture)?;
            let mut picture = picture;
            if let Some((size, resize)) = fit {
                let placement = Placement::new([picture.width, picture.height], size, resize);
                (picture, mask) = (placement.apply(&picture), placement.apply(&mask));
                settle(&mut mask);
                if mask.data.iter().all(|m| *m == 0.0) {
                    let reason = "nothing of this mask is left at the network's size: take a larger --size, or --tile, or --arch unet";
                    return Err(Error::data(path, reason));
                }
            }
            let scaling = Scaling::of(input, &picture.to_color(input.color).data);
            let mut picture = [Packed::new(&picture)];
            to_color(&mut picture, input.color);
            let ([picture], mask) = (picture, Packed::new(&mask));
            #[rustfmt::skip]
            real.push(Real { picture, scaling, mask });
        }
        Ok((Self { real }, data.digest()?))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.real.len()
    }

    /// One of them, half of the time.
    pub fn draw(&self, rng: &mut Pcg64) -> Option<&Real> {
        (!self.real.is_empty() && rng.random_bool(SHARE)).then(|| &self.real[rng.random_range(0..self.real.len())])
    }
}

impl Real {
    /// `good`, which is normalised, with this defect put anywhere on it.
    pub fn transplanted(&self, good: &Image, rng: &mut Pcg64) -> Defective {
        let mut picture = self.picture.image();
        self.scaling.apply(&mut picture);
        transplant(good, &picture, &self.mask.image(), rng)
    }

    /// A part of the picture of up to `side` pixels a side with some of the defect where it was, normalised with the whole picture, and
    /// made wider or narrower, higher or lower. As in [`Packed::random_part`], the picture's right and lower edge may lie within the part.
    pub fn crop(&self, side: usize, multiple: usize, flip: bool, rng: &mut Pcg64) -> Defective {
        let [width, height] = self.picture.size();
        let marks = self.mask.image();
        let marked: Vec<usize> = (0..marks.data.len()).filter(|&i| marks.data[i] > 0.5).collect();
        let one = marked[rng.random_range(0..marked.len())];
        let stretch = random_stretch(rng);
        let axes =
            [(one % width, width, stretch[0]), (one / width, height, stretch[1])].map(|(at, length, stretch)| {
                let seen = (side as f32 / stretch).round() as usize;
                let part = length.min(seen);
                let last = last_start(length, seen, multiple);
                let start = (at + rng.random_range(0..part))
                    .saturating_sub(part - 1)
                    .min(last)
                    .min(at);
                let part = seen.min(length - start);
                (start, part, ((part as f32 * stretch).round() as usize).clamp(1, side))
            });
        let (at, size) = (axes.map(|(start, ..)| start), axes.map(|(_, part, _)| part));
        let [width, height] = axes.map(|(.., side)| side);
        let mut image = self.picture.crop(at, size);
        self.scaling.apply(&mut image);
        let flip = flip && rng.random();
        let [image, mut mask] =
            [image, self.mask.crop(at, size)].map(|part| turn(&part.resize(width, height), 0, flip));
        settle(&mut mask);
        Defective { image, mask }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::stream;

    #[test]
    fn parts_show_the_defect_however_it_is_stretched() {
        let input = crate::nets::build(crate::model::Task::Anomaly, "unet", &Default::default())
            .unwrap()
            .input;
        let (width, height) = (40, 30);
        for (corner, side) in [0, 39, 29 * 40, 30 * 40 - 1]
            .into_iter()
            .flat_map(|at| [(at, 16), (at, 32), (at, 64)])
        {
            let mut mask = Image::filled(1, height, width, 0.0);
            mask.data[corner] = 1.0;
            let picture = Image::filled(1, height, width, 0.5);
            let real = Real {
                scaling: Scaling::of(&input, &picture.data),
                picture: Packed::new(&picture),
                mask: Packed::new(&mask),
            };
            for item in 0..60 {
                let Defective { image, mask } = real.crop(side, 16, true, &mut stream(9, side as u64, item));
                let what = format!(
                    "corner {corner}, side {side}, item {item}: {}x{}",
                    image.width, image.height
                );
                assert_eq!([image.width, image.height], [mask.width, mask.height], "{what}");
                assert!(
                    (1..=side).contains(&image.width) && (1..=side).contains(&image.height),
                    "{what}"
                );
                assert!(mask.data.contains(&1.0), "{what}");
            }
        }
    }
}
