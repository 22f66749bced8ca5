//! Class numbers as the codes of a map.

use super::{HeatColors, HeatMap};
use crate::kernels::simd::{Vector, Work, run_best};
use crate::pixels::FrameMut;
use crate::pixels::blend::premultiply;
use crate::pixels::colormap::class_color;

/// The class of a pixel of which nothing is known.
const VOID: u8 = 255;
/// Classes that have codes of their own: a multiple of the number of colours, so that those beyond them keep theirs.
const CLASSES: usize = 126;
/// From the code of a class to that of its border.
const BORDER: u8 = 127;

/// Draws masks of classes on frames: each class in a colour of its own, its border in the same colour, opaque.
#[derive(Debug, Default)]
pub struct ClassPainter {
    /// Kept for the next frame.
    codes: Vec<u8>,
}

impl ClassPainter {
    /// Draws a mask of `size` = `[width, height]` class numbers, 255 where there is none, over the whole `frame`, as opaque as `opacity`, 0..1;
    /// the `background` stays clear. Nothing is drawn of a mask with fewer numbers than its size says.
    pub fn paint(
        &mut self,
        frame: &mut FrameMut<'_>,
        mask: &[u8],
        size: [usize; 2],
        background: Option<usize>,
        opacity: f32,
    ) {
        let covers = [0.0, 0.0, frame.width as f64, frame.height as f64];
        if HeatMap::new(mask, size, covers).is_none() {
            return;
        }
        // As thick as boxes are, in pixels of the mask.
        let line = (frame.height.min(frame.width * 3 / 4) as f64 / 270.0).max(1.0);
        let border = (line * size[0] as f64 / frame.width as f64).round().max(1.0);
        with_borders(
            &mask[..size[0] * size[1]],
            size[0],
            background,
            border as usize,
            &mut self.codes,
        );
        if let Some(map) = HeatMap::new(&self.codes, size, covers) {
            frame.blend_heat(&map.of_classes(), &HeatColors::of_classes(opacity));
        }
    }
}

impl HeatColors {
    /// Of the codes that [`with_borders`] gives: each class in a colour of its own (they come again after seven), as opaque as `opacity`,
    /// and its border in the same colour, opaque.
    fn of_classes(opacity: f32) -> Self {
        let code = |code: usize| match code {
            1..=CLASSES => premultiply(class_color(code - 1), opacity),
            128..=253 => premultiply(class_color(code - 128), 1.0),
            _ => 0,
        };
        Self(std::array::from_fn(code))
    }
}

/// Turns a mask of class numbers, with rows of `width` pixels, into the codes of a map, which `codes` becomes: 0 for the `background` and for 255,
/// which stands for no class; another one for each other class, and one for the pixels of it that are `border` pixels or less from where
/// it ends. The mask's own edge is no border, and with a `border` of 0 there is none.
fn with_borders(mask: &[u8], width: usize, background: Option<usize>, border: usize, codes: &mut Vec<u8>) {
    codes.clear();
    codes.resize(mask.len(), 0);
    let Some(height) = mask.len().checked_div(width) else {
        return;
    };
    let background = background.and_then(|class| u8::try_from(class).ok()).unwrap_or(VOID);
    for y in 0..height {
        let row = |y: usize| &mask[y * width..][..width];
        run_best(Row {
            row: row(y),
            // A plus of the border's size around a pixel sees every end of a class that is as wide as the border.
            near: [row(y.saturating_sub(border)), row((y + border).min(height - 1))],
            background,
            border,
            codes: &mut codes[y * width..][..width],
        });
    }
}

/// A row of a mask, and the two that are as far from it as its border is thick.
struct Row<'a> {
    row: &'a [u8],
    near: [&'a [u8]; 2],
    background: u8,
    border: usize,
    codes: &'a mut [u8],
}

impl Work for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self {
            row,
            near: [above, below],
            background,
            border,
            codes,
        } = self;
        let is_empty = row.iter().fold(true, |empty, &class| empty & (class == background));
        if is_empty {
            return;
        }
        let (end, border) = (row.len(), border.min(row.len()));
        let code = |class: u8, ends: bool| {
            let number = class - CLASSES as u8 * (u8::from(class >= 126) + u8::from(class >= 252));
            let is_class = u8::from(class != background) & u8::from(class != VOID);
            (1 + number + BORDER * u8::from(ends)) * is_class
        };
        let across = |x: usize, class: u8| (class != above[x]) | (class != below[x]);
        // In the middle, where all four neighbours are inside.
        let inside = border..(end - border).max(border);
        let sides = row[..inside.len()].iter().zip(&row[end - inside.len()..]);
        let rows = above[inside.clone()].iter().zip(&below[inside.clone()]);
        let middle = codes[inside.clone()].iter_mut().zip(&row[inside.clone()]);
        for ((to, &class), ((left, right), (above, below))) in middle.zip(sides.zip(rows)) {
            let ends = (class != *left) | (class != *right) | (class != *above) | (class != *below);
            *to = code(class, ends);
        }
        for x in (0..inside.start).chain(inside.end..end) {
            let class = row[x];
            let sides = [x.saturating_sub(border), (x + border).min(end - 1)];
            codes[x] = code(class, across(x, class) | sides.iter().any(|&side| row[side] != class));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One character a pixel: a digit in the middle of its class, `#` on its border.
    fn drawn(mask: &str, background: Option<usize>, border: usize) -> String {
        let rows: Vec<&[u8]> = mask.split_whitespace().map(str::as_bytes).collect();
        let width = rows[0].len();
        let classes: Vec<u8> = rows
            .concat()
            .iter()
            .map(|digit| if *digit == b'v' { 255 } else { digit - b'0' })
            .collect();
        let mut codes = vec![9; 3];
        with_borders(&classes, width, background, border, &mut codes);
        let letter = |code: &u8| match code {
            0 => '.',
            1..=126 => char::from(b'0' + code - 1),
            _ => '#',
        };
        let rows: Vec<String> = codes
            .chunks(width)
            .map(|row| row.iter().map(letter).collect())
            .collect();
        rows.join(" ")
    }

    #[test]
    fn classes_end_in_a_border_and_the_background_is_clear() {
        let mask = "000000 011110 011110 011110 022220 02222v";
        assert_eq!(drawn(mask, Some(0), 1), "...... .####. .#11#. .####. .####. .#22#.");
        assert_eq!(drawn(mask, Some(0), 0), "...... .1111. .1111. .1111. .2222. .2222.");
        assert_eq!(
            drawn("1111 1111", Some(0), 1),
            "1111 1111",
            "the frame's edge is no border"
        );
        assert_eq!(drawn("0011 0011", None, 1), "0##1 0##1");
        assert_eq!(drawn("0011", Some(1), 7), "##..");
        assert_eq!(drawn("00000 00100 00000", Some(0), 3), "..... ..#.. .....");
    }

    #[test]
    fn every_class_has_the_colour_of_its_number() {
        let mask: Vec<u8> = (0..=255).collect();
        let colors = HeatColors::of_classes(1.0);
        for border in [0, 1] {
            let mut codes = Vec::new();
            with_borders(&mask, 256, None, border, &mut codes);
            for (class, code) in codes.iter().enumerate().take(255) {
                let expected = premultiply(class_color(class), 1.0);
                assert_eq!(colors.color(*code), expected, "{class}");
                assert_eq!(*code > BORDER, border > 0, "{class}");
            }
            assert_eq!(codes[255], 0);
        }
        let mut codes = vec![1];
        with_borders(&[], 0, None, 1, &mut codes);
        assert!(codes.is_empty());
    }
}
