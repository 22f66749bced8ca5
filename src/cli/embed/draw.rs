//! The map of codes as a picture.

use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::register_font;

use crate::atomic;
use crate::model::CodeBook;

/// Width and height in pixels.
const SIZE: (u32, u32) = (1200, 900);
/// Pixels between the frame and what is in it.
const MARGIN: u32 = 24;
/// What the font is called here.
const FONT: &str = "sans-serif";
/// Pixels of the width that the legend takes.
const LEGEND: u32 = 300;
/// From so many points on they are smaller.
const MANY: usize = 2000;
/// How much points cover those below.
const OPACITY: f64 = 0.75;
/// Most classes that the legend names, and characters of each.
const MOST_NAMED: usize = 30;
const MOST_CHARACTERS: usize = 22;
/// Colours of classes, told apart by people who see colours otherwise, too (Okabe and Ito 2008), before others come.
const COLORS: [(u8, u8, u8); 8] = [
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (213, 94, 0),
    (204, 121, 167),
    (86, 180, 233),
    (240, 228, 66),
    (0, 0, 0),
];

/// Writes the map of codes that lie at these places.
pub fn draw(path: &Path, places: &[[f32; 2]], book: &CodeBook) -> Result<()> {
    if !has_font() {
        eprintln!("warning: the map has no legend: no font is installed (on Debian, fonts-dejavu-core is one)");
    }
    let mut pixels = vec![0; 3 * SIZE.0 as usize * SIZE.1 as usize];
    fill(&mut pixels, places, book)
        .map_err(|reason| anyhow!("{}: the map cannot be drawn: {reason}", path.display()))?;
    let image = image::RgbImage::from_raw(SIZE.0, SIZE.1, pixels)
        .ok_or_else(|| anyhow!("{}: the map has another size", path.display()))?;
    let mut png = std::io::Cursor::new(Vec::new());
    image.write_to(&mut png, image::ImageFormat::Png)?;
    Ok(atomic::write(path, |out| out.write_all(png.get_ref()))?)
}

/// Families of fonts that are looked for first.
const FAMILIES: [fontdb::Family<'_>; 3] = [
    fontdb::Family::Name("DejaVu Sans"),
    fontdb::Family::Name("Noto Sans"),
    fontdb::Family::SansSerif,
];

/// Whether there is a font for text; the first call looks for one.
fn has_font() -> bool {
    static FOUND: LazyLock<bool> = LazyLock::new(|| {
        let mut fonts = fontdb::Database::new();
        fonts.load_system_fonts();
        let wanted = fontdb::Query {
            families: &FAMILIES,
            ..fontdb::Query::default()
        };
        let any = || fonts.faces().next().map(|face| face.id);
        let bytes = fonts.query(&wanted).or_else(any).and_then(|id| {
            // A collection's other faces cannot be told to the library that draws.
            fonts.with_face_data(id, |bytes, face| (face == 0).then(|| bytes.to_vec()))?
        });
        bytes.is_some_and(|bytes| register_font(FONT, FontStyle::Normal, bytes.leak()).is_ok())
    });
    *FOUND
}

/// The colour of a class by its number.
fn color(class: usize) -> RGBColor {
    if let Some(&(r, g, b)) = COLORS.get(class) {
        return RGBColor(r, g, b);
    }
    // Hues in steps of the golden ratio.
    let hue = (class as f64 * 0.618_034).fract();
    let (r, g, b) = HSLColor(hue, 0.65, 0.45).rgb();
    RGBColor(r, g, b)
}

fn fill(pixels: &mut [u8], places: &[[f32; 2]], book: &CodeBook) -> Result<(), String> {
    let area = BitMapBackend::with_buffer(pixels, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(text)?;
    let (map, legend) = match has_font() && book.labels.len() > 1 {
        false => (area.clone(), None),
        true => {
            let (map, legend) = area.split_horizontally(SIZE.0 - LEGEND);
            (map, Some(legend))
        }
    };
    let [x, y] = [0, 1].map(|axis| span(places.iter().map(|place| place[axis])));
    let mut chart = ChartBuilder::on(&map)
        .margin(MARGIN)
        .build_cartesian_2d(x, y)
        .map_err(text)?;
    // Drawn by turns, so that no class covers the others.
    let radius = if places.len() > MANY { 3 } else { 5 };
    let points = places.iter().zip(&book.codes.classes).map(|([x, y], class)| {
        let style = color(*class).mix(OPACITY).filled();
        Circle::new((*x, *y), radius, style)
    });
    let mut points: Vec<_> = points.collect();
    shuffle(&mut points);
    chart.draw_series(points).map_err(text)?;
    if let Some(legend) = legend {
        for (class, label) in book.labels.iter().enumerate().take(MOST_NAMED) {
            let count = book.codes.classes.iter().filter(|of| **of == class).count();
            let y = MARGIN as i32 + 28 * class as i32;
            let mark = Circle::new((10, y + 5), 7, color(class).filled());
            legend.draw(&mark).map_err(text)?;
            let name = Text::new(named(label, count), (26, y), (FONT, 20).into_font());
            legend.draw(&name).map_err(text)?;
        }
    }
    area.present().map_err(text)
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Puts them in an order that has nothing to do with theirs, always the same.
fn shuffle<T>(all: &mut [T]) {
    use rand::seq::SliceRandom;
    all.shuffle(&mut crate::data::random::stream(0, 0, 0));
}

/// A class in the legend.
fn named(label: &str, count: usize) -> String {
    let label = if label.is_empty() { "(no class)" } else { label };
    let mut short: String = label.chars().take(MOST_CHARACTERS).collect();
    if short.len() < label.len() {
        short.push('…');
    }
    format!("{short}  {count}")
}

/// From the least to the largest value, and a little more at both ends.
fn span(values: impl Iterator<Item = f32> + Clone) -> std::ops::Range<f32> {
    let least = values.clone().fold(f32::INFINITY, f32::min);
    let largest = values.fold(f32::NEG_INFINITY, f32::max);
    let room = (0.04 * (largest - least)).max(1e-3);
    least - room..largest + room
}
