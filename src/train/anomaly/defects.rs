//! Real defects that there are pictures and masks of.

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::data::augment::turn;
use crate::data::defects::{Defective, transplant};
use crate::data::layout::{Dataset, Split, VideoLimits, read_mask};
use crate::model::{Color, InputSpec, Resize};
use crate::pixels::{Image, Placement};
use crate::tasks::Scaling;
use crate::train::packed::{Packed, to_color};
use crate::train::samples::{at_least, is_good, retain};
use crate::{Error, Result};

/// Share of the training items that show a real defect, where there are some.
const SHARE: f64 = 0.5;

/// Pictures with defects, none of them twice.
#[derive(Default)]
pub struct Defects {
    real: Vec<Real>,
}

struct Real {
    picture: Packed,
    /// One plane of its size, 1 where it is defective.
    mask: Packed,
}

impl Defects {
    /// The pictures with masks in `folders`, brought to `fit`'s size, where there is one; and a digest of them.
    pub fn load(folders: &[String], fit: Option<([usize; 2], Resize)>, color: Color) -> Result<(Self, String)> {
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
            let picture = data.read(sample)?;
            let path = sample.mask.as_ref().expect("the others were left out");
            let mask = read_mask(path)?;
            let size = |image: &Image| [image.width, image.height];
            if size(&mask) != size(&picture) {
                let ([a, b], [c, d]) = (size(&mask), size(&picture));
                return Err(Error::data(
                    path,
                    format!("the mask has {a}x{b} pixels, its picture {c}x{d}"),
                ));
            }
            let fitted = |image: Image| match fit {
                Some((input, resize)) => Placement::new(size(&image), input, resize).apply(&image),
                None => image,
            };
            let mut mask = fitted(mask);
            mask.data.iter_mut().for_each(|m| *m = f32::from(*m > 0.5));
            let mut picture = [Packed::new(&fitted(picture))];
            to_color(&mut picture, color);
            let [picture] = picture;
            let mask = Packed::new(&mask);
            real.push(Real { picture, mask });
        }
        Ok((Self { real }, data.digest()?))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.real.len()
    }

    /// One of them, now and then.
    fn draw(&self, rng: &mut Pcg64) -> Option<&Real> {
        (!self.real.is_empty() && rng.random_bool(SHARE)).then(|| &self.real[rng.random_range(0..self.real.len())])
    }

    /// Now and then, `good` with a real defect on it, as `input` normalises it; `good` is normalised.
    pub fn transplanted(&self, good: &Image, input: &InputSpec, rng: &mut Pcg64) -> Option<Defective> {
        let real = self.draw(rng)?;
        Some(transplant(good, &real.normalized(input), &real.mask.image(), rng))
    }

    /// Now and then, a crop of `side` pixels a side with a real defect where it was, normalised with the whole picture.
    pub fn crop(&self, side: usize, flip: bool, input: &InputSpec, rng: &mut Pcg64) -> Option<Defective> {
        let real = self.draw(rng)?;
        let (picture, mask) = (real.normalized(input), real.mask.image());
        let marked: Vec<usize> = (0..mask.data.len()).filter(|&i| mask.data[i] > 0.5).collect();
        let one = marked
            .get(rng.random_range(0..marked.len().max(1)))
            .copied()
            .unwrap_or(0);
        let [width, height] = [mask.width, mask.height].map(|length| length.min(side));
        let around = [
            (one % mask.width, width, mask.width),
            (one / mask.width, height, mask.height),
        ];
        let [x, y] = around.map(|(at, side, length)| {
            (at + rng.random_range(0..side))
                .saturating_sub(side - 1)
                .min(length - side)
        });
        let flip = flip && rng.random();
        let [image, mask] =
            [picture, mask].map(|image| turn(&image.crop(x, y, width, height), 0, flip).pad_to_multiple(side));
        Some(Defective { image, mask })
    }
}

impl Real {
    fn normalized(&self, input: &InputSpec) -> Image {
        let mut picture = self.picture.image();
        Scaling::of(input, &picture.data).apply(&mut picture);
        picture
    }
}
