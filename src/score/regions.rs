//! Connected regions of a map.

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
    let values = map.plane(0);
    let mut regions = Vec::new();
    for_each_component(
        map.width,
        map.height,
        |i| values[i] >= threshold,
        |pixels| {
            if pixels.len() >= min_area {
                regions.push(enclose(pixels, values, map.width));
            }
        },
    );
    regions.sort_by(|a, b| b.score.total_cmp(&a.score).then((a.y, a.x).cmp(&(b.y, b.x))));
    regions
}

fn enclose(pixels: &[usize], values: &[f32], width: usize) -> Region {
    let (mut left, mut right, mut top, mut bottom) = (usize::MAX, 0, usize::MAX, 0);
    let mut score = f32::NEG_INFINITY;
    for &i in pixels {
        let (x, y) = (i % width, i / width);
        (left, right) = (left.min(x), right.max(x));
        (top, bottom) = (top.min(y), bottom.max(y));
        score = score.max(values[i]);
    }
    Region {
        x: left,
        y: top,
        width: right - left + 1,
        height: bottom - top + 1,
        area: pixels.len(),
        score,
    }
}

/// Calls `visit` with the indices of the pixels of each 8-connected component of those that are `inside`, in the order
/// of the components' first pixels.
pub(super) fn for_each_component(
    width: usize,
    height: usize,
    inside: impl Fn(usize) -> bool,
    mut visit: impl FnMut(&[usize]),
) {
    let mut seen = vec![false; width * height];
    // Breadth first: the list of pixels found is the queue, too.
    let mut pixels = Vec::new();
    for start in 0..seen.len() {
        if seen[start] || !inside(start) {
            continue;
        }
        seen[start] = true;
        pixels.clear();
        pixels.push(start);
        let mut next = 0;
        while let Some(&i) = pixels.get(next) {
            next += 1;
            let (x, y) = (i % width, i / width);
            for row in y.saturating_sub(1)..(y + 2).min(height) {
                for column in x.saturating_sub(1)..(x + 2).min(width) {
                    let neighbour = row * width + column;
                    if !seen[neighbour] && inside(neighbour) {
                        seen[neighbour] = true;
                        pixels.push(neighbour);
                    }
                }
            }
        }
        visit(&pixels);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
