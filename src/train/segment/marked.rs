//! Pictures with marks: parts of them, and marks laid over others.

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::data::augment;
use crate::data::masks::Mask;
use crate::pixels::Image;
use crate::tasks::{Scaling, VOID};
use crate::train::classify::MOST_COPIES;
use crate::train::packed::{Packed, last_start};

/// Share of the parts that are drawn around a marked pixel.
const AIMED: f64 = 0.6;
/// Standard deviation in pixels of the blur at the edges of marks that are laid over others.
const PASTED_EDGE: f32 = 1.5;

/// A picture, how it is normalised as a whole, and what its pixels show.
pub struct Marked {
    pub picture: Packed,
    pub scaling: Scaling,
    pub mask: Mask,
    /// The classes of the mask but the first and what nobody knows.
    marks: Vec<u8>,
}

/// The pictures of a pass: all of them, those with marks so often that they are about half.
pub fn deck(count: usize, marked: &[usize]) -> Vec<usize> {
    let copies = ((count - marked.len()) / marked.len().max(1)).clamp(1, MOST_COPIES);
    let again = std::iter::repeat_n(marked, copies - 1).flatten();
    (0..count).chain(again.copied()).collect()
}

impl Marked {
    /// Of a picture and the mask of its size.
    pub fn new(picture: Packed, scaling: Scaling, mask: Mask) -> Self {
        let mut there = [false; 256];
        mask.classes.iter().for_each(|class| there[usize::from(*class)] = true);
        let marks = (1..VOID).filter(|class| there[usize::from(*class)]).collect();
        Self {
            picture,
            scaling,
            mask,
            marks,
        }
    }

    /// Whether any pixel is of a class other than the first.
    pub fn has_marks(&self) -> bool {
        !self.marks.is_empty()
    }

    /// A part of up to `size` pixels, as `([x, y], [width, height])`: with `aim` around a pixel of a class drawn from those marked, more often
    /// than not, else anywhere.
    pub fn part(&self, size: [usize; 2], multiple: usize, aim: bool, rng: &mut Pcg64) -> ([usize; 2], [usize; 2]) {
        let Mask { width, height, classes } = &self.mask;
        let mut at = None;
        if aim && rng.random_bool(AIMED) && self.has_marks() {
            let class = self.marks[rng.random_range(0..self.marks.len())];
            let of_class = || (0..classes.len()).filter(|&i| classes[i] == class);
            at = of_class().nth(rng.random_range(0..of_class().count()));
        }
        let at = at.unwrap_or_else(|| rng.random_range(0..classes.len()));
        let axes = [(at % width, *width, size[0]), (at / width, *height, size[1])];
        let axes = axes.map(|(at, length, side)| {
            let last = last_start(length, side, multiple);
            let start = (at + rng.random_range(0..side))
                .saturating_sub(side - 1)
                .min(last)
                .min(at);
            (start, side.min(length - start))
        });
        (axes.map(|(start, _)| start), axes.map(|(_, length)| length))
    }
}

/// `[width, height]` that half of the pictures reach, each axis by itself.
pub fn usual_size(pictures: &[Marked]) -> [usize; 2] {
    let median = |side: &dyn Fn(&Mask) -> usize| {
        let mut sides: Vec<usize> = pictures.iter().map(|picture| side(&picture.mask)).collect();
        sides.sort_unstable();
        sides.get(sides.len() / 2).copied().unwrap_or(0)
    };
    [median(&|mask| mask.width), median(&|mask| mask.height)]
}

/// Lays the marks of one picture, and what they mark, over another of the same size; classes beyond the first are marks.
pub fn paste([seen, targets]: [&mut Image; 2], [from, marks]: [&Image; 2]) {
    let pixels = seen.width * seen.height;
    let mut over = Image::filled(1, seen.height, seen.width, 0.0);
    for plane in marks.data[pixels..].chunks_exact(pixels) {
        over.data.iter_mut().zip(plane).for_each(|(over, mark)| *over += mark);
    }
    for (plane, marks) in targets
        .data
        .chunks_exact_mut(pixels)
        .zip(marks.data.chunks_exact(pixels))
    {
        for ((class, mark), over) in plane.iter_mut().zip(marks).zip(&over.data) {
            *class = if *over > 0.0 { *mark } else { *class };
        }
    }
    // An edge as sharp as the mask's would tell where a mark was laid.
    augment::gaussian_blur(&mut over, PASTED_EDGE);
    for (plane, from) in seen.data.chunks_exact_mut(pixels).zip(from.data.chunks_exact(pixels)) {
        for ((value, other), over) in plane.iter_mut().zip(from).zip(&over.data) {
            *value += over * (other - *value);
        }
    }
}

/// Makes each pixel of the class that has the most of it, where that is half.
pub fn settle(targets: &mut Image) {
    for value in &mut targets.data {
        *value = f32::from(u8::from(*value >= 0.5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::random::stream;
    use crate::model::Task;
    use crate::nets::{self, NetOptions};

    fn marked(width: usize, height: usize, class: impl Fn(usize, usize) -> u8) -> Marked {
        let classes = (0..width * height).map(|i| class(i % width, i / width)).collect();
        let image = Image::filled(1, height, width, 0.5);
        let net = nets::build(
            Task::Segment,
            "unet",
            &NetOptions {
                classes: 2,
                ..NetOptions::default()
            },
        )
        .unwrap();
        let scaling = Scaling::of(&net.input, &image.data);
        Marked::new(Packed::new(&image), scaling, Mask { width, height, classes })
    }

    #[test]
    fn parts_lie_inside_and_more_often_than_not_around_a_mark() {
        let picture = marked(60, 40, |x, y| match (x, y) {
            (57, 3) => 2,
            (0, 0) => VOID,
            _ => 0,
        });
        assert!(picture.has_marks() && !marked(2, 2, |_, _| 0).has_marks() && !marked(2, 2, |_, _| VOID).has_marks());
        let mut rng = stream(1, 0, 0);
        let mut around = |aim: bool| {
            (0..400)
                .filter(|_| {
                    let ([x, y], [width, height]) = picture.part([16, 16], 1, aim, &mut rng);
                    assert!(x + width <= 60 && y + height <= 40 && width == 16 && height == 16);
                    (x..x + width).contains(&57) && (y..y + height).contains(&3)
                })
                .count()
        };
        let [aimed, anywhere] = [around(true), around(false)];
        assert!(aimed > 230 && aimed < 300 && anywhere < 60, "{aimed} {anywhere}");
    }

    #[test]
    fn a_mark_is_laid_over_where_it_is_and_nowhere_else() {
        let plane = |of: &dyn Fn(usize) -> f32| Image {
            channels: 1,
            height: 9,
            width: 9,
            data: (0..81).map(of).collect(),
        };
        let is_mark = |i: usize| (2..7).contains(&(i % 9)) && (2..7).contains(&(i / 9));
        let planes = |is: &dyn Fn(usize) -> bool| {
            let mut both = plane(&|i| f32::from(u8::from(!is(i))));
            both.data.extend((0..81).map(|i| f32::from(u8::from(is(i)))));
            Image { channels: 2, ..both }
        };
        let (mut seen, mut targets) = (plane(&|_| 0.0), planes(&|_| false));
        paste([&mut seen, &mut targets], [&plane(&|_| 1.0), &planes(&is_mark)]);
        assert_eq!(targets, planes(&is_mark));
        assert!(seen.data[4 * 9 + 4] > 0.6 && seen.data[0] < 0.1, "its edge is soft");
    }

    #[test]
    fn half_of_the_pictures_reach_the_usual_size() {
        let pictures = [(3, 9), (5, 8), (7, 1)].map(|(width, height)| marked(width, height, |_, _| 0));
        assert_eq!(usual_size(&pictures), [5, 8]);
        assert_eq!(usual_size(&[]), [0, 0]);
    }

    #[test]
    fn pictures_with_marks_are_about_half_of_a_pass() {
        assert_eq!(deck(4, &[1]), [0, 1, 2, 3, 1, 1]);
        assert_eq!(deck(3, &[0, 1, 2]), [0, 1, 2]);
        assert_eq!(deck(2, &[]), [0, 1]);
    }

    #[test]
    fn a_pixel_is_of_the_class_that_half_of_it_is() {
        let mut targets = Image {
            channels: 2,
            height: 1,
            width: 3,
            data: vec![0.5, 0.4, 0.0, 0.3, 0.6, 0.0],
        };
        settle(&mut targets);
        assert_eq!(targets.data, [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]);
    }
}
