//! Large pictures in pieces that overlap, and what a network makes of them laid together without seams.

use crate::Result;
use crate::pixels::Image;

/// Share of a piece's side by which neighbours overlap, at least.
const OVERLAP: f64 = 0.25;

/// Where pieces of `side` begin on an axis of `length`, at least `side`: evenly spread, from one end to the other.
fn starts(length: usize, side: usize) -> impl Iterator<Item = usize> + Clone {
    let room = length - side;
    let step = ((1.0 - OVERLAP) * side as f64).max(1.0);
    let count = (room as f64 / step).ceil() as usize;
    (0..=count).map(move |i| (i * room + count / 2).checked_div(count).unwrap_or(0))
}

/// The pieces of `size` = `[width, height]` of `image`, which is at least as large.
pub(super) fn pieces(image: &Image, [width, height]: [usize; 2]) -> impl Iterator<Item = Image> {
    let corners = starts(image.height, height).flat_map(move |y| starts(image.width, width).map(move |x| [x, y]));
    corners.map(move |[x, y]| image.crop(x, y, width, height))
}

/// What `run` makes of each piece of `size` = `[width, height]` of `image`, which is at least as large: pictures of the pieces' size, laid
/// together as one of the picture's. Where pieces overlap, each counts the more the farther it is from its edge.
pub(super) fn in_pieces(
    image: &Image,
    size: [usize; 2],
    mut run: impl FnMut(&Image) -> Result<Image>,
) -> Result<Image> {
    let [width, height] = size;
    let [across, down] = size.map(ramp);
    let mut sum: Option<Image> = None;
    let mut weights = vec![0.0f32; image.width * image.height];
    for y in starts(image.height, height) {
        for x in starts(image.width, width) {
            let piece = run(&image.crop(x, y, width, height))?;
            let sum = sum.get_or_insert_with(|| Image::filled(piece.channels, image.height, image.width, 0.0));
            for (row, down) in down.iter().enumerate() {
                let at = (y + row) * image.width + x;
                let weights = &mut weights[at..at + width];
                weights
                    .iter_mut()
                    .zip(&across)
                    .for_each(|(weight, across)| *weight += across * down);
                for channel in 0..piece.channels {
                    let values = &piece.plane(channel)[row * width..(row + 1) * width];
                    let sums = &mut sum.plane_mut(channel)[at..at + width];
                    for ((sum, value), across) in sums.iter_mut().zip(values).zip(&across) {
                        *sum += across * down * value;
                    }
                }
            }
        }
    }
    let mut sum = sum.expect("there is at least one piece");
    for channel in 0..sum.channels {
        let values = sum.plane_mut(channel).iter_mut().zip(&weights);
        values.for_each(|(value, weight)| *value /= weight);
    }
    Ok(sum)
}

/// Weights of the places along a side: rising from both ends over the overlap.
fn ramp(side: usize) -> Vec<f32> {
    let overlap = (OVERLAP * side as f64).max(1.0) as f32;
    let weight = |i: usize| ((i.min(side - 1 - i) + 1) as f32 / overlap).min(1.0);
    (0..side).map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_everything_and_overlap() {
        for (length, side) in [(8, 8), (9, 8), (100, 16), (3840, 256), (257, 256)] {
            let all: Vec<usize> = starts(length, side).collect();
            assert_eq!((all[0], all.last().copied()), (0, Some(length - side)));
            assert!(
                all.windows(2).all(|p| p[0] < p[1] && p[1] - p[0] <= side - side / 4),
                "{all:?}"
            );
        }
    }

    #[test]
    fn what_is_the_same_in_all_pieces_has_no_seams() {
        let mut image = Image::filled(2, 70, 90, 0.0);
        image
            .data
            .iter_mut()
            .enumerate()
            .for_each(|(i, x)| *x = (i % 97) as f32);
        let mut pieces = 0;
        let same = in_pieces(&image, [32, 16], |piece| {
            pieces += 1;
            assert_eq!([piece.width, piece.height], [32, 16]);
            Ok(piece.clone())
        });
        let same = same.unwrap();
        assert!(same.data.iter().zip(&image.data).all(|(a, b)| (a - b).abs() < 1e-3));
        assert_eq!(pieces, 4 * 6);
        // Pieces that differ as a whole fade into each other.
        let mut number = 0.0;
        let mixed = in_pieces(&image, [32, 16], |piece| {
            number = 1.0 - number;
            Ok(Image::filled(1, piece.height, piece.width, number))
        });
        let steps = mixed
            .unwrap()
            .data
            .chunks(90)
            .flat_map(|row| row.windows(2).map(|p| (p[0] - p[1]).abs()).collect::<Vec<_>>())
            .fold(0.0, f32::max);
        assert!(steps < 0.2, "{steps}");
    }
}
