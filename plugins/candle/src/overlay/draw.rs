//! How it is drawn.

use gst_candle::pixels::FrameMut;
use gst_candle::pixels::blend::premultiply;
use gst_candle::pixels::heatmap::{HeatColors, HeatMap};

use super::findings::{Bar, Findings, Mark};
use super::settings::Settings;
use super::text::{self, TextError};

const WHITE: [f32; 3] = [1.0; 3];
const BLACK: [f32; 3] = [0.0; 3];
const ALARM: [f32; 3] = [1.0, 0.0, 0.0];
const ANOMALOUS: [f32; 3] = [1.0, 0.5, 0.45];

/// Lengths in pixels that follow from the frame's size.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Height of a line of text.
    text: usize,
    /// Thickness of boxes.
    line: usize,
    /// Thickness of the red frame.
    frame: usize,
}

impl Sizes {
    /// Less than 12 pixels a line cannot be read.
    const LEAST_TEXT: f64 = 12.0;

    fn new(frame: &FrameMut<'_>, text_scale: f64) -> Self {
        let base = frame.height.min(frame.width * 3 / 4) as f64;
        Self {
            text: ((base * 0.045).max(Self::LEAST_TEXT) * text_scale).round() as usize,
            line: (base / 240.0).round().max(1.0) as usize,
            frame: (base / 60.0).round().max(2.0) as usize,
        }
    }
}

/// Draws everything; the error is that of the first text that could not be.
pub fn draw(
    frame: &mut FrameMut<'_>,
    findings: &Findings,
    settings: &Settings,
    colors: &HeatColors,
) -> Result<(), TextError> {
    let sizes = Sizes::new(frame, settings.text_scale);
    if let Some(heat) = &findings.heat
        && let Ok(codes) = heat.data.map_readable()
        && let Some(map) = HeatMap::new(
            &codes,
            heat.size.map(|size| usize::try_from(size).unwrap_or(0)),
            heat.covers,
        )
    {
        frame.blend_heat(&map, colors);
    }
    for mark in &findings.marks {
        outline(frame, mark, sizes.line);
    }
    let texts = texts(frame, findings, sizes);
    if findings.alarm {
        let (width, height) = (frame.width, frame.height);
        border(
            frame,
            [0, 0, width as i64, height as i64],
            sizes.frame,
            premultiply(ALARM, 1.0),
        );
    }
    texts
}

fn texts(frame: &mut FrameMut<'_>, findings: &Findings, sizes: Sizes) -> Result<(), TextError> {
    for mark in findings.marks.iter().filter(|mark| !mark.text.is_empty()) {
        tag(frame, mark, sizes)?;
    }
    match &findings.bar {
        Some(found) => bar(frame, found, sizes),
        None => Ok(()),
    }
}

/// The four sides of a rectangle, `thickness` pixels inwards.
fn border(frame: &mut FrameMut<'_>, [x, y, width, height]: [i64; 4], thickness: usize, color: u32) {
    let length = |value: i64| usize::try_from(value).unwrap_or(0);
    let (columns, rows) = (length(width), length(height));
    let thick = thickness.min(columns.div_ceil(2)).min(rows.div_ceil(2));
    let (side, inner) = (thick as i64, rows - 2 * thick.min(rows / 2));
    frame.fill(x, y, columns, thick, color);
    frame.fill(x, y.saturating_add(height) - side, columns, thick, color);
    frame.fill(x, y.saturating_add(side), thick, inner, color);
    frame.fill(
        x.saturating_add(width) - side,
        y.saturating_add(side),
        thick,
        inner,
        color,
    );
}

/// A box, dark around its line so that it shows on any ground.
fn outline(frame: &mut FrameMut<'_>, mark: &Mark, line: usize) {
    let [x, y, width, height] = mark.rect;
    border(
        frame,
        [x - 1, y - 1, width + 2, height + 2],
        line + 2,
        premultiply(BLACK, 0.5),
    );
    border(frame, mark.rect, line, premultiply(mark.color, 1.0));
}

/// The text of a box, above it or, where there is no room, in it.
fn tag(frame: &mut FrameMut<'_>, mark: &Mark, sizes: Sizes) -> Result<(), TextError> {
    let pad = sizes.text / 6 + 1;
    if sizes.text + 2 * pad > frame.height {
        return Ok(());
    }
    let picture = text::picture(&mark.text, sizes.text, frame.width.saturating_sub(2 * pad), BLACK)?;
    let (width, height) = (picture.width + 2 * pad, picture.height);
    let [x, y, ..] = mark.rect;
    let x = x.min(frame.width as i64 - width as i64).max(0);
    let y = if y < height as i64 { y.max(0) } else { y - height as i64 };
    frame.fill(x, y, width, height, premultiply(mark.color, 0.9));
    frame.blend(&picture.layer(), x + pad as i64, y);
    Ok(())
}

/// The bar at the bottom: the label on the left, the score on the right in as many words as there is room for, the confidence as a line
/// above. Left out where it would hide more than a third of the frame.
fn bar(frame: &mut FrameMut<'_>, bar: &Bar, sizes: Sizes) -> Result<(), TextError> {
    let (pad, line) = (sizes.frame + sizes.text / 3, sizes.text / 8 + 1);
    let height = line + sizes.text + sizes.text / 4 + sizes.frame;
    if height * 3 > frame.height {
        return Ok(());
    }
    let top = (frame.height - height) as i64;
    frame.fill(0, top, frame.width, height, premultiply(BLACK, 0.6));
    let at = top + (line + sizes.text / 8) as i64;
    let mut room = frame.width.saturating_sub(2 * pad);
    if let Some((text, confidence)) = &bar.label {
        let lit = (confidence * frame.width as f64).round() as usize;
        frame.fill(0, top, lit, line, premultiply(WHITE, 0.9));
        let most = if bar.score.is_some() { room * 2 / 3 } else { room };
        let picture = text::picture(text, sizes.text, most, WHITE)?;
        frame.blend(&picture.layer(), pad as i64, at);
        room = room.saturating_sub(picture.width + pad);
    }
    if let Some((texts, anomalous)) = &bar.score {
        let mut text = &texts[0];
        for shorter in &texts[1..] {
            if text::width(text, sizes.text)? > room {
                text = shorter;
            }
        }
        let color = if *anomalous { ANOMALOUS } else { WHITE };
        let picture = text::picture(text, sizes.text, room, color)?;
        let right = frame.width as i64 - (pad + picture.width) as i64;
        frame.blend(&picture.layer(), right, at);
    }
    Ok(())
}
