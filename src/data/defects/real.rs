//! Real defects, put on pictures that have none.

use rand::RngExt;
use rand_pcg::Pcg64;

use super::Defective;
use crate::data::augment::{gaussian_blur, turn};
use crate::pixels::Image;

/// Standard deviation in pixels over which a defect fades into its new surroundings.
const FADE: f32 = 1.0;
/// Pixels around a defect whose mean is what it is brighter or darker than.
const RING: usize = 4;
/// Largest change of a defect's contrast, as a factor.
const CONTRAST: f32 = 1.3;
/// Largest change of its width and its height, as a factor.
const STRETCH: f32 = 1.3;
/// A pixel of a mask that was resized is defective where so much of it is: a scratch may be narrower than a pixel. Marks may grow by a pixel.
const COVERED: f32 = 0.1;

/// How much wider and higher a defect is made this time.
pub fn random_stretch(rng: &mut Pcg64) -> [f32; 2] {
    [0; 2].map(|_| STRETCH.powf(rng.random_range(-1.0..=1.0)))
}

/// Makes each pixel of a mask that was resized defective (1) or not (0).
pub fn settle(mask: &mut Image) {
    mask.data.iter_mut().for_each(|m| *m = f32::from(*m > COVERED));
}

/// Cuts the marked pixels out of `defect` (`mask` is one plane of its size, 1 where it is defective), stretches, turns and mirrors them at random
/// and puts them anywhere on `good`: as much brighter or darker than what is around them as they were. A picture without a marked pixel, or
/// of another number of channels, leaves `good` as it is.
pub fn transplant(good: &Image, defect: &Image, mask: &Image, rng: &mut Pcg64) -> Defective {
    let mut out = good.clone();
    let mut marked = Image::filled(1, good.height, good.width, 0.0);
    let (turns, flip) = (rng.random_range(0..4u8), rng.random::<bool>());
    let contrast = CONTRAST.powf(rng.random_range(-1.0..=1.0f32));
    let stretch = random_stretch(rng);
    let place = [0, 1].map(|_| rng.random::<f32>());
    let Some([x, y, width, height]) = bounds(mask).filter(|_| defect.channels == good.channels) else {
        return Defective {
            image: out,
            mask: marked,
        };
    };
    let (defect, mask) = (defect.crop(x, y, width, height), mask.crop(x, y, width, height));
    let [width, height] = [width as f32 * stretch[0], height as f32 * stretch[1]].map(|side| side.round() as usize);
    let (defect, mut mask) = (defect.resize(width, height), mask.resize(width, height));
    settle(&mut mask);
    let (defect, mask) = (turn(&defect, turns, flip), turn(&mask, turns, flip));
    let mut weights = mask.clone();
    gaussian_blur(&mut weights, FADE);
    // Where its left top corner comes to lie: the whole of it inside, or where it is larger, as much as there is room for.
    let corner = [(good.width, mask.width, 0), (good.height, mask.height, 1)].map(|(room, side, axis)| {
        let (from, to) = (0i64.min(room as i64 - side as i64), 0i64.max(room as i64 - side as i64));
        from + ((to - from) as f32 * place[axis]).round() as i64
    });
    let inside = |i: usize| {
        let (x, y) = (corner[0] + (i % mask.width) as i64, corner[1] + (i / mask.width) as i64);
        let within = (0..good.width as i64).contains(&x) && (0..good.height as i64).contains(&y);
        within.then(|| y as usize * good.width + x as usize)
    };
    for channel in 0..good.channels {
        let from = mean_around(&mask, defect.plane(channel));
        let places: Vec<usize> = (0..mask.data.len()).filter_map(inside).collect();
        let below = good.plane(channel);
        let around = places.iter().map(|&i| below[i]).sum::<f32>() / places.len().max(1) as f32;
        let plane = out.plane_mut(channel);
        for (i, weight) in weights.data.iter().enumerate() {
            if let Some(at) = inside(i) {
                let value = around + contrast * (defect.plane(channel)[i] - from);
                plane[at] += weight * (value - plane[at]);
            }
        }
    }
    for (i, value) in mask.data.iter().enumerate() {
        if let Some(at) = inside(i)
            && *value > 0.5
        {
            marked.data[at] = 1.0;
        }
    }
    Defective {
        image: out,
        mask: marked,
    }
}

/// `[x, y, width, height]` of the marked pixels and the ring around them, in the picture.
fn bounds(mask: &Image) -> Option<[usize; 4]> {
    let marked = || (0..mask.data.len()).filter(|&i| mask.data[i] > 0.5);
    let span = |at: fn(usize, usize) -> usize, length: usize| {
        let (first, last) = (
            marked().map(|i| at(i, mask.width)).min()?,
            marked().map(|i| at(i, mask.width)).max()?,
        );
        let start = first.saturating_sub(RING);
        Some((start, (last + RING + 1).min(length) - start))
    };
    let (x, width) = span(|i, width| i % width, mask.width)?;
    let (y, height) = span(|i, width| i / width, mask.height)?;
    Some([x, y, width, height])
}

/// Mean of the values that are not marked; of all where all are.
fn mean_around(mask: &Image, plane: &[f32]) -> f32 {
    let mean = |marked: bool| {
        let values = plane.iter().zip(&mask.data).filter(|(_, m)| (**m > 0.5) == marked);
        let (sum, count) = values.fold((0.0, 0), |(sum, count), (value, _)| (sum + value, count + 1));
        (count > 0).then(|| sum / count as f32)
    };
    mean(false).or(mean(true)).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::stream;

    #[test]
    fn a_defect_is_as_dark_on_its_new_place_as_it_was() {
        let (mut defect, mut mask) = (Image::filled(1, 40, 50, 0.8), Image::filled(1, 40, 50, 0.0));
        for i in 0..40 * 50 {
            if (20..28).contains(&(i % 50)) && (10..14).contains(&(i / 50)) {
                (defect.data[i], mask.data[i]) = (0.5, 1.0);
            }
        }
        let good = Image::filled(1, 60, 30, 0.4);
        let mut sizes = std::collections::BTreeSet::new();
        for item in 0..30 {
            let made = transplant(&good, &defect, &mask, &mut stream(3, 0, item));
            let marked = made.mask.data.iter().filter(|m| **m > 0.5).count();
            sizes.insert(marked);
            assert!((6 * 3..=12 * 7).contains(&marked), "item {item}: {marked}");
            // Its middle fades a little, too.
            let darkest = made.image.data.iter().copied().fold(1.0, f32::min);
            assert!(
                (0.4 - 0.3 * 1.31..0.4 - 0.8 * 0.3 / 1.3).contains(&darkest),
                "item {item}: {darkest}"
            );
            let far = made.image.data.iter().filter(|v| (**v - 0.4).abs() > 0.02).count();
            assert!((20..200).contains(&far), "item {item}: {far} pixels changed");
        }
        assert!(sizes.len() > 5, "{sizes:?}");
    }

    #[test]
    fn larger_ones_are_cut_off_and_none_changes_nothing() {
        let defect = Image::filled(3, 90, 90, 0.9);
        let good = Image::filled(3, 20, 20, 0.1);
        let all = transplant(&good, &defect, &Image::filled(1, 90, 90, 1.0), &mut stream(1, 0, 0));
        assert!(all.mask.data.iter().all(|m| *m == 1.0));
        let none = transplant(&good, &defect, &Image::filled(1, 90, 90, 0.0), &mut stream(1, 0, 0));
        assert!(none.image == good && none.mask.data.iter().all(|m| *m == 0.0));
    }
}
