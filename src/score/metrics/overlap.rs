//! How well maps cover defects.

use rayon::prelude::*;

use super::ranking::{below, key};
use crate::pixels::Image;
use crate::score::regions::runs;

/// Area under the per-region-overlap curve up to a false-positive rate of `limit` (0.3), divided by `limit` (Bergmann 2021).
/// `masks` are one-channel, above 0.5 = defect, of the maps' sizes; good pictures have empty masks.
///
/// Regions are 8-connected. The curve is exact over all distinct map values; a value that is not a number counts as the
/// largest. False positives are counted over all pixels outside the masks, and the curve is interpolated at `limit`.
/// `None` without a defect, without a normal pixel, or with a `limit` not in 0..=1 (0 itself is not, either).
///
/// # Panics
/// When maps and masks differ in number or size.
pub fn aupro(maps: &[Image], masks: &[Image], limit: f64) -> Option<f64> {
    assert_eq!(maps.len(), masks.len(), "one mask a map");
    let (defects, normal) = gather(maps, masks);
    if defects.pixels.is_empty() || normal.is_empty() || !(limit > 0.0 && limit <= 1.0) {
        return None;
    }
    let regions = defects.areas.len() as f64;
    let (mut pixels, mut keys) = (&defects.pixels[..], &normal[..]);
    let (mut rate, mut overlap, mut area) = (0.0, 0.0, 0.0);
    while let Some(key) = pixels.last().map(|pixel| pixel.0).max(keys.last().copied()) {
        let mut next_overlap = overlap;
        while let [rest @ .., last] = pixels
            && last.0 == key
        {
            next_overlap += 1.0 / (regions * f64::from(defects.areas[last.1 as usize]));
            pixels = rest;
        }
        keys = below(keys, key);
        let next_rate = (normal.len() - keys.len()) as f64 / normal.len() as f64;
        if next_rate >= limit {
            let at_limit = overlap + (next_overlap - overlap) * (limit - rate) / (next_rate - rate);
            area += (limit - rate) * (overlap + at_limit) / 2.0;
            break;
        }
        area += (next_rate - rate) * (overlap + next_overlap) / 2.0;
        (rate, overlap) = (next_rate, next_overlap);
    }
    Some(area / limit)
}

/// Pixels of defects by rising key, each with its region.
struct Defects {
    pixels: Vec<(u32, u32)>,
    /// Pixels of each region.
    areas: Vec<u32>,
}

/// Sorted pixels of the regions, and sorted keys of all other pixels.
fn gather(maps: &[Image], masks: &[Image]) -> (Defects, Vec<u32>) {
    let is_defect = |mask: f32| mask > 0.5;
    let normal_pixels = masks
        .iter()
        .flat_map(|mask| mask.plane(0))
        .filter(|&&mask| !is_defect(mask))
        .count();
    let mut normal = Vec::with_capacity(normal_pixels);
    let mut defects = Defects {
        pixels: Vec::new(),
        areas: Vec::new(),
    };
    for (map, marks) in maps.iter().zip(masks) {
        assert_eq!(
            (map.height, map.width),
            (marks.height, marks.width),
            "a mask has its map's size"
        );
        let (values, mask) = (map.plane(0), marks.plane(0));
        let pixels = values.iter().zip(mask);
        normal.extend(
            pixels
                .filter(|(_, mask)| !is_defect(**mask))
                .map(|(&value, _)| key(value)),
        );
        let first = defects.areas.len();
        for run in runs(marks, is_defect) {
            let (region, pixels) = (first + run.component, run.pixels(marks.width));
            if region == defects.areas.len() {
                defects.areas.push(0);
            }
            defects.areas[region] += pixels.len() as u32;
            let pixels = values[pixels].iter();
            defects.pixels.extend(pixels.map(|&value| (key(value), region as u32)));
        }
    }
    defects.pixels.par_sort_unstable();
    normal.par_sort_unstable();
    (defects, normal)
}
