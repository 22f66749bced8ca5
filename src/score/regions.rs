//! Connected regions of a map.

use std::ops::Range;

use crate::pixels::Image;

/// A connected part of a map that reaches the threshold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// Left column.
    pub x: usize,
    /// Top row.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Pixels that reach the threshold.
    pub area: usize,
    /// Largest map value in it.
    pub score: f32,
}

/// Regions (8-connected) of the one-channel `map` at or above `threshold` with at least `min_area` pixels, highest score
/// first, equal ones from top left to bottom right. A value that is not a number belongs to no region.
pub fn find(map: &Image, threshold: f32, min_area: usize) -> Vec<Region> {
    let mut regions = joined(map, &runs(map, |value| value >= threshold));
    regions.retain(|region| region.area >= min_area);
    regions.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.y, a.x).cmp(&(b.y, b.x))));
    regions
}

/// The region of each component of these `runs` of the map, in the components' order.
fn joined(map: &Image, runs: &[Run]) -> Vec<Region> {
    let values = map.plane(0);
    let mut regions: Vec<Region> = Vec::new();
    for run in runs {
        let own = Region {
            x: run.columns.start,
            y: run.row,
            width: run.columns.len(),
            height: 1,
            area: run.columns.len(),
            score: values[run.pixels(map.width)]
                .iter()
                .fold(f32::NEG_INFINITY, |a, b| a.max(*b)),
        };
        match regions.get_mut(run.component) {
            Some(region) => region.enclose(&own),
            None => regions.push(own),
        }
    }
    regions
}

/// Regions (8-connected) of the pixels of `class` in a mask with rows of `width` pixels, largest first, equal ones from top left to bottom
/// right. Those of fewer than `min_area` pixels are left out, and become `other` in the mask.
pub fn of_class(mask: &mut [u8], width: usize, class: u8, min_area: usize, other: u8) -> Vec<Region> {
    let map = Image {
        channels: 1,
        height: mask.len().checked_div(width).unwrap_or(0),
        width,
        data: mask.iter().map(|&of| f32::from(u8::from(of == class))).collect(),
    };
    let runs = runs(&map, |is| is > 0.0);
    let mut regions = joined(&map, &runs);
    for run in runs.iter().filter(|run| regions[run.component].area < min_area) {
        mask[run.pixels(width)].fill(other);
    }
    regions.retain(|region| region.area >= min_area);
    regions.sort_by_key(|region| (std::cmp::Reverse(region.area), region.y, region.x));
    regions
}

/// What is looked at to name the region `[x, y, width, height]` of a frame of `frame` = `[width, height]`: with a `context` above 0 the square
/// around its middle whose side is that, or the region's longer side where that is more, moved and cut to lie in the frame; else the region.
/// `None` where nothing of it is on the frame.
pub fn seen(region: [usize; 4], context: usize, frame: [usize; 2]) -> Option<[usize; 4]> {
    let [x, y, width, height] = region;
    let axes = [(x, width, frame[0]), (y, height, frame[1])].map(|(start, length, whole)| {
        let end = (start + length).min(whole);
        let start = start.min(whole);
        (start, end - start, whole)
    });
    if axes.iter().any(|(_, length, _)| *length == 0) {
        return None;
    }
    let side = axes[0].1.max(axes[1].1).max(context);
    let [across, down] = axes.map(|(start, length, whole)| match context {
        0 => (start, length),
        _ => {
            let side = side.min(whole);
            let middle = start + length / 2;
            (middle.saturating_sub(side / 2).min(whole - side), side)
        }
    });
    Some([across.0, down.0, across.1, down.1])
}

impl Region {
    /// `[x, y, width, height]`.
    pub fn rect(&self) -> [usize; 4] {
        [self.x, self.y, self.width, self.height]
    }

    /// Makes `other` a part of it.
    fn enclose(&mut self, other: &Self) {
        let (right, bottom) = (self.x + self.width, self.y + self.height);
        let [x, y] = [self.x.min(other.x), self.y.min(other.y)];
        *self = Self {
            x,
            y,
            width: right.max(other.x + other.width) - x,
            height: bottom.max(other.y + other.height) - y,
            area: self.area + other.area,
            score: self.score.max(other.score),
        };
    }
}

/// Pixels side by side in a row, as many as there are.
pub(super) struct Run {
    /// The 8-connected component that they belong to; components are numbered in the order of their first pixels.
    pub(super) component: usize,
    row: usize,
    columns: Range<usize>,
}

impl Run {
    /// Its pixels' places in the plane of a map of this width.
    pub(super) fn pixels(&self, width: usize) -> Range<usize> {
        self.row * width + self.columns.start..self.row * width + self.columns.end
    }
}

/// Where values of the one-channel `map` are `inside`, from top left to bottom right.
pub(super) fn runs(map: &Image, inside: impl Fn(f32) -> bool) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    // Of each run, one of its component before it, or itself: the ends of these chains are the components.
    let mut parents: Vec<usize> = Vec::new();
    let mut above = 0..0;
    for row in 0..map.height {
        let first = runs.len();
        let values = &map.plane(0)[row * map.width..][..map.width];
        let mut end = 0;
        while let Some(skipped) = values[end..].iter().position(|value| inside(*value)) {
            let start = end + skipped;
            let length = values[start..].iter().position(|value| !inside(*value));
            end = length.map_or(map.width, |length| start + length);
            let own = runs.len();
            parents.push(own);
            // What ended before this run began, diagonals included, touches none of the later ones either.
            while above.start < above.end && runs[above.start].columns.end < start {
                above.start += 1;
            }
            for touched in above.clone().take_while(|i| runs[*i].columns.start <= end) {
                join(&mut parents, touched, own);
            }
            runs.push(Run {
                component: own,
                row,
                columns: start..end,
            });
        }
        above = first..runs.len();
    }
    let mut components = 0;
    for i in 0..runs.len() {
        runs[i].component = if parents[i] == i {
            components += 1;
            components - 1
        } else {
            runs[parents[i]].component
        };
    }
    runs
}

/// Makes two runs one component: the earlier end of their chains becomes that of both.
fn join(parents: &mut [usize], a: usize, b: usize) {
    let [a, b] = [a, b].map(|run| {
        let mut run = run;
        while parents[run] != run {
            parents[run] = parents[parents[run]];
            run = parents[run];
        }
        run
    });
    parents[a.max(b)] = a.min(b);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;

    /// A map from rows of digits, each a tenth.
    fn map(rows: &[&str]) -> Image {
        let data = rows
            .iter()
            .flat_map(|row| row.bytes().map(|digit| f32::from(digit - b'0') / 10.0))
            .collect();
        Image {
            channels: 1,
            height: rows.len(),
            width: rows[0].len(),
            data,
        }
    }

    #[test]
    fn diagonals_connect_and_rows_do_not_wrap() {
        let found = find(&map(&["600005", "070000", "000009", "900000"]), 0.5, 1);
        let boxes: Vec<_> = found
            .iter()
            .map(|r| (r.x, r.y, r.width, r.height, r.area, r.score))
            .collect();
        assert_eq!(
            boxes,
            [
                (5, 2, 1, 1, 1, 0.9),
                (0, 3, 1, 1, 1, 0.9),
                (0, 0, 2, 2, 2, 0.7),
                (5, 0, 1, 1, 1, 0.5)
            ]
        );
    }

    #[test]
    fn what_surrounds_a_region_lies_in_the_frame() {
        let frame = [100, 60];
        assert_eq!(seen([10, 20, 6, 8], 0, frame), Some([10, 20, 6, 8]));
        assert_eq!(seen([40, 20, 6, 8], 20, frame), Some([33, 14, 20, 20]));
        assert_eq!(seen([0, 50, 6, 8], 20, frame), Some([0, 40, 20, 20]));
        assert_eq!(seen([10, 0, 80, 8], 20, frame), Some([10, 0, 80, 60]));
        assert_eq!(seen([90, 50, 40, 40], 0, frame), Some([90, 50, 10, 10]));
        assert_eq!(seen([100, 0, 4, 4], 20, frame), None);
    }

    #[test]
    fn small_regions_of_a_class_become_another() {
        let mut mask = *b"110002\
                          010020\
                          000200\
                          100000";
        mask.iter_mut().for_each(|digit| *digit -= b'0');
        let boxes = |regions: Vec<Region>| {
            regions
                .iter()
                .map(|r| [r.x, r.y, r.width, r.height, r.area])
                .collect::<Vec<_>>()
        };
        assert_eq!(boxes(of_class(&mut mask, 6, 1, 2, 0)), [[0, 0, 2, 2, 3]]);
        assert_eq!(mask[18], 0);
        assert_eq!(boxes(of_class(&mut mask, 6, 2, 1, 0)), [[3, 0, 3, 3, 3]]);
        assert_eq!(boxes(of_class(&mut mask, 6, 2, 4, 7)), [[0; 5]; 0]);
        assert_eq!(mask.iter().filter(|class| **class == 7).count(), 3);
        assert_eq!(boxes(of_class(&mut [], 6, 1, 1, 0)), [[0; 5]; 0]);
    }

    /// A region that a pixel belongs to, found by looking from pixel to pixel, is the one that its run belongs to.
    #[test]
    fn components_are_those_of_a_flood_fill() {
        let mut rng = crate::data::random::stream(3, 0, 0);
        for side in 1..40 {
            let (width, height) = (side, 41 - side);
            let data = (0..width * height).map(|_| f32::from(rng.random::<f32>() < 0.45));
            let map = Image {
                channels: 1,
                height,
                width,
                data: data.collect(),
            };
            let mut found = vec![usize::MAX; width * height];
            for run in runs(&map, |value| value > 0.5) {
                found[run.pixels(width)].fill(run.component);
            }
            assert_eq!(found, flooded(&map), "{width}x{height}");
        }
    }

    /// The number of each pixel's component.
    fn flooded(map: &Image) -> Vec<usize> {
        let mut numbers = vec![usize::MAX; map.data.len()];
        let mut next = 0;
        for start in 0..map.data.len() {
            if map.data[start] < 0.5 || numbers[start] != usize::MAX {
                continue;
            }
            let mut pixels = vec![start];
            while let Some(i) = pixels.pop() {
                if map.data[i] < 0.5 || numbers[i] != usize::MAX {
                    continue;
                }
                numbers[i] = next;
                let (x, y) = (i % map.width, i / map.width);
                for row in y.saturating_sub(1)..(y + 2).min(map.height) {
                    pixels.extend((x.saturating_sub(1)..(x + 2).min(map.width)).map(|column| row * map.width + column));
                }
            }
            next += 1;
        }
        numbers
    }

    #[test]
    fn a_ring_is_one_region_and_small_ones_are_left_out() {
        let picture = map(&["55555", "50005", "50805", "50005", "55555"]);
        let found = find(&picture, 0.5, 2);
        assert_eq!(
            found,
            [Region {
                x: 0,
                y: 0,
                width: 5,
                height: 5,
                area: 16,
                score: 0.5
            }]
        );
        assert_eq!(find(&picture, 0.5, 0).len(), 2);
        assert_eq!(find(&picture, 0.81, 0), []);
    }

    #[test]
    fn one_pixel_all_pixels_and_not_a_number() {
        assert_eq!(
            find(&map(&["5"]), 0.5, 1),
            [Region {
                x: 0,
                y: 0,
                width: 1,
                height: 1,
                area: 1,
                score: 0.5
            }]
        );
        // A recursive fill would run out of stack here.
        let all = find(&Image::filled(1, 1000, 1000, 1.0), 0.5, 1);
        assert_eq!(
            all,
            [Region {
                x: 0,
                y: 0,
                width: 1000,
                height: 1000,
                area: 1_000_000,
                score: 1.0
            }]
        );
        assert_eq!(find(&Image::filled(1, 3, 3, f32::NAN), 0.5, 1), []);
    }
}
