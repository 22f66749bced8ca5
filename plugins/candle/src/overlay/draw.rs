//! How it is drawn.

use gst_candle::pixels::blend::premultiply;
use gst_candle::pixels::heatmap::{ClassPainter, HeatColors, HeatMap};
use gst_candle::pixels::{FrameMut, PixelFormat};

use super::findings::{Findings, Label, Status};
use super::history::{Age, History};
use super::layout::{Layout, Rect, Sizes, place_tag};
use super::marks::Mark;
use super::panels::{self, Strip};
use super::settings::{HeatmapColors, Layers, Settings};
use super::text::{Picture, TextCache, TextError};

pub const WHITE: [f32; 3] = [1.0; 3];
pub const BLACK: [f32; 3] = [0.0; 3];
/// Of the frame while the alarm is on, and of the plate behind its word, which is darker so that white stands out.
const ALARM: [f32; 3] = [1.0, 0.0, 0.0];
const ALARM_PLATE: [f32; 3] = [0.8, 0.0, 0.0];
/// Of a frame that is anomalous while the alarm is off, and of what is told of an earlier frame.
const AMBER: [f32; 3] = [1.0, 0.75, 0.0];
/// The score in the bar while it is anomalous.
const ANOMALOUS: [f32; 3] = [1.0, 0.5, 0.45];
/// Labels that are less probable.
pub const FAINT: [f32; 3] = [0.78; 3];
/// Opacity of the plates behind text.
pub const PLATE: f32 = 0.65;

/// More tags on a frame than this are left out: nobody reads them.
const MOST_TAGS: usize = 12;

/// What the drawing keeps from frame to frame so as not to make it again.
#[derive(Default)]
pub struct Canvas {
    texts: TextCache,
    strip: Strip,
    colors: Option<((HeatmapColors, f64), HeatColors)>,
    classes: ClassPainter,
    /// What tags may not hide, and the boxes that they belong to.
    taken: Vec<Rect>,
    boxes: Vec<Rect>,
}

impl Canvas {
    /// Draws everything; the error is that of the last text that could not be.
    pub fn draw(
        &mut self,
        frame: &mut FrameMut<'_>,
        findings: &Findings,
        settings: &Settings,
        history: &History,
    ) -> Result<(), TextError> {
        let layout = Layout::new([frame.width, frame.height], settings.text_scale, settings.layers);
        self.heat(frame, findings, settings);
        if settings.layers.contains(Layers::MASK) {
            self.mask(frame, findings, settings);
        }
        for mark in &findings.marks {
            outline(frame, mark, layout.sizes.line);
        }
        let panels = self.panels(frame, findings, &layout, history);
        let tags = self.tags(frame, findings, &layout);
        if settings.layers.contains(Layers::FRAME) {
            status_frame(frame, findings.status(), layout.sizes.frame);
        }
        panels.and(tags)
    }

    fn heat(&mut self, frame: &mut FrameMut<'_>, findings: &Findings, settings: &Settings) {
        let Some(heat) = &findings.heat else { return };
        // A map of an earlier frame is fainter.
        let opacity = settings.heatmap_opacity * if findings.is_heat_old { 0.5 } else { 1.0 };
        let size = heat.size.map(|size| usize::try_from(size).unwrap_or(0));
        if let Ok(codes) = heat.data.map_readable()
            && let Some(map) = HeatMap::new(&codes, size, heat.covers)
        {
            frame.blend_heat(&map, colors(&mut self.colors, settings.heatmap_colors, opacity));
        }
    }

    fn mask(&mut self, frame: &mut FrameMut<'_>, findings: &Findings, settings: &Settings) {
        let Some(segments) = &findings.segments else { return };
        let opacity = settings.mask_opacity * if findings.is_mask_old { 0.5 } else { 1.0 };
        if let Ok(mask) = segments.mask.map_readable() {
            self.classes
                .paint(frame, &mask, segments.size, segments.background, opacity as f32);
        }
    }

    /// The bar, the word on the frame, the legends and the history.
    fn panels(
        &mut self,
        frame: &mut FrameMut<'_>,
        findings: &Findings,
        layout: &Layout,
        history: &History,
    ) -> Result<(), TextError> {
        self.taken.clear();
        let mut result = Ok(());
        let segments = findings.segments.as_ref();
        let mut label = findings.label.as_ref();
        if let (Some(place), Some(segments)) = (layout.classes, segments) {
            let drawn = panels::classes(frame, &mut self.texts, &segments.classes, place, &layout.sizes);
            result = result.and(drawn.map(|place| self.taken.push(place)));
        } else {
            label = label.or(segments.and_then(|segments| segments.label.as_ref()));
        }
        let has_text = label.is_some() || findings.score.is_some() || findings.age != Age::Young;
        if let Some(bar) = layout.bar.filter(|_| has_text) {
            self.taken.push(bar);
            result = result.and(self.bar(frame, findings, label, layout, bar));
        }
        let Some(score) = &findings.score else { return result };
        if let (Some(place), Some(word)) = (layout.badge, score.status.word()) {
            let text = match layout.bar {
                Some(_) => word.to_owned(),
                None => format!("{word}  {}", score.text[1]),
            };
            result = result.and(self.badge(frame, &text, score.status, place, layout));
        }
        if let (Some(place), Some((_, colors))) = (layout.legend, &self.colors) {
            let drawn = panels::legend(frame, &mut self.texts, colors, place, &layout.sizes);
            result = result.and(drawn.map(|place| self.taken.push(place)));
        }
        if let Some(place) = layout.history {
            self.taken.push(place);
            result = result.and(self.strip.draw(frame, &mut self.texts, history, place, &layout.sizes));
        }
        result
    }

    /// The bar at the bottom: labels on the left, the score on the right in as many words as there is room for, the confidence as a line above.
    fn bar(
        &mut self,
        frame: &mut FrameMut<'_>,
        findings: &Findings,
        label: Option<&Label>,
        layout: &Layout,
        bar: Rect,
    ) -> Result<(), TextError> {
        let Sizes { text, margin, .. } = layout.sizes;
        frame.fill(
            bar.x,
            bar.y,
            bar.width as usize,
            bar.height as usize,
            premultiply(BLACK, PLATE),
        );
        let line = text / 8 + 1;
        let middle = bar.y + line as i64 + (bar.height - (line + layout.sizes.frame) as i64) / 2;
        let mut row = Row {
            left: margin as i64,
            right: bar.width - margin as i64,
            middle,
            gap: (text * 2 / 3) as i64,
        };
        if let Some(label) = label {
            let lit = (label.confidence * frame.width as f64).round() as usize;
            frame.fill(0, bar.y, lit, line, premultiply(WHITE, 0.9));
            let room = row.room();
            let most = if findings.score.is_some() { room * 3 / 5 } else { room };
            row.left(frame, self.texts.picture(&label.text, text, most, WHITE)?);
        }
        if let Some(note) = note(findings.age) {
            row.right(frame, self.texts.picture(&note, text, row.room(), AMBER)?);
        }
        if let Some(score) = &findings.score {
            let word = score.status.word().filter(|_| layout.badge.is_none());
            let color = if word.is_some() || score.status != Status::Normal {
                ANOMALOUS
            } else {
                WHITE
            };
            for words in score_texts(word, &score.text) {
                let picture = self.texts.picture(&words, text, usize::MAX, color)?;
                if picture.width <= row.room() {
                    row.right(frame, picture);
                    break;
                }
            }
        }
        self.others(frame, label, row, layout.sizes.small)
    }

    /// Less probable labels, as far as there is room.
    fn others(
        &mut self,
        frame: &mut FrameMut<'_>,
        label: Option<&Label>,
        mut row: Row,
        small: usize,
    ) -> Result<(), TextError> {
        for other in label.iter().flat_map(|label| &label.others) {
            let picture = self.texts.picture(other, small, usize::MAX, FAINT)?;
            if picture.width > row.room() {
                break;
            }
            row.left(frame, picture);
        }
        Ok(())
    }

    fn badge(
        &mut self,
        frame: &mut FrameMut<'_>,
        text: &str,
        status: Status,
        place: Rect,
        layout: &Layout,
    ) -> Result<(), TextError> {
        let (ground, ink) = match status {
            Status::Anomalous => (AMBER, BLACK),
            _ if is_gray(frame) => (WHITE, BLACK),
            _ => (ALARM_PLATE, WHITE),
        };
        let pad = 2 * Sizes::pad(layout.sizes.text) as i64;
        let picture = self
            .texts
            .picture(text, layout.sizes.text, (place.width - 2 * pad).max(0) as usize, ink)?;
        let place = Rect {
            width: picture.width as i64 + 2 * pad,
            ..place
        };
        frame.fill(
            place.x,
            place.y,
            place.width as usize,
            place.height as usize,
            premultiply(ground, 0.92),
        );
        frame.blend(
            &picture.layer(),
            place.x + pad,
            place.y + (place.height - picture.height as i64) / 2,
        );
        self.taken.push(place);
        Ok(())
    }

    /// The texts of boxes, where they hide neither a box nor each other.
    fn tags(&mut self, frame: &mut FrameMut<'_>, findings: &Findings, layout: &Layout) -> Result<(), TextError> {
        let small = layout.sizes.small;
        let (pad, height) = (Sizes::pad(small), Sizes::plate(small));
        self.boxes.clear();
        self.boxes
            .extend(findings.marks.iter().map(|mark| Rect::new(mark.rect)));
        let marks = findings.marks.iter().zip(&self.boxes);
        for (mark, rect) in marks.filter(|(mark, _)| !mark.text.is_empty()).take(MOST_TAGS) {
            let picture = self.texts.picture(&mark.text, small, frame.width / 2, BLACK)?;
            let tag = [(picture.width + 2 * pad) as i64, height as i64];
            let Some(place) = place_tag(rect, tag, &self.taken, &self.boxes, &layout.inner) else {
                continue;
            };
            let ground = premultiply(shown(frame, mark.color), 0.92);
            frame.fill(place.x, place.y, place.width as usize, height, ground);
            let top = place.y + (place.height - picture.height as i64) / 2;
            frame.blend(&picture.layer(), place.x + pad as i64, top);
            self.taken.push(place);
        }
        Ok(())
    }
}

/// The heat map's colours, made only when they are others than before.
fn colors(known: &mut Option<((HeatmapColors, f64), HeatColors)>, map: HeatmapColors, opacity: f64) -> &HeatColors {
    if known.as_ref().is_none_or(|(of, _)| *of != (map, opacity)) {
        *known = None;
    }
    let made = || ((map, opacity), HeatColors::of(map.into(), opacity as f32));
    &known.get_or_insert_with(made).1
}

/// The room that is left in the bar.
struct Row {
    left: i64,
    right: i64,
    middle: i64,
    gap: i64,
}

impl Row {
    fn room(&self) -> usize {
        usize::try_from(self.right - self.left).unwrap_or(0)
    }

    fn left(&mut self, frame: &mut FrameMut<'_>, picture: &Picture) {
        frame.blend(&picture.layer(), self.left, self.middle - picture.height as i64 / 2);
        self.left += picture.width as i64 + self.gap;
    }

    fn right(&mut self, frame: &mut FrameMut<'_>, picture: &Picture) {
        let at = self.right - picture.width as i64;
        frame.blend(&picture.layer(), at, self.middle - picture.height as i64 / 2);
        self.right = at - self.gap;
    }
}

/// What is said of results that are not of this frame.
fn note(age: Age) -> Option<String> {
    match age {
        Age::Young => None,
        Age::Seconds(seconds) => Some(format!("{seconds} s old")),
        Age::Unknown => Some("stale".to_owned()),
    }
}

/// The score in ever fewer words, and the word for what it means where nothing else says it.
fn score_texts(word: Option<&str>, [against, score]: &[String; 2]) -> Vec<String> {
    let full = format!("score {against}");
    match word {
        None => vec![full, against.clone(), score.clone()],
        Some(word) => vec![
            format!("{word}  {full}"),
            format!("{word}  {against}"),
            format!("{word} {score}"),
            word.to_owned(),
        ],
    }
}

/// A colour as it shows on the frame: in grey, red would be as dark as what it is to stand out from.
fn shown(frame: &FrameMut<'_>, color: [f32; 3]) -> [f32; 3] {
    if is_gray(frame) { WHITE } else { color }
}

fn is_gray(frame: &FrameMut<'_>) -> bool {
    matches!(frame.format, PixelFormat::Gray8 | PixelFormat::Gray16Le)
}

/// Solid while the alarm is on, dashed where the frame alone is anomalous.
fn status_frame(frame: &mut FrameMut<'_>, status: Status, thickness: usize) {
    let (color, dashed) = match status {
        Status::Normal => return,
        Status::Anomalous => (AMBER, true),
        Status::Alarm | Status::Held => (ALARM, false),
    };
    let whole = [0, 0, frame.width as i64, frame.height as i64];
    border(frame, whole, thickness, premultiply(shown(frame, color), 1.0), dashed);
    if is_gray(frame) {
        // On what is white, too, its inner edge shows.
        let edge = thickness.div_ceil(3);
        let side = (thickness - edge) as i64;
        let inside = [side, side, whole[2] - 2 * side, whole[3] - 2 * side];
        border(frame, inside, edge, premultiply(BLACK, 1.0), false);
    }
}

/// A box, dark around its line so that it shows on any ground.
fn outline(frame: &mut FrameMut<'_>, mark: &Mark, line: usize) {
    let [x, y, width, height] = mark.rect;
    let around = [
        x.saturating_sub(1),
        y.saturating_sub(1),
        width.saturating_add(2),
        height.saturating_add(2),
    ];
    border(frame, around, line + 2, premultiply(BLACK, 0.5), mark.is_old);
    let color = premultiply(shown(frame, mark.color), 1.0);
    border(frame, mark.rect, line, color, mark.is_old);
}

/// The four sides of a rectangle, `thickness` pixels inwards.
fn border(frame: &mut FrameMut<'_>, rect: [i64; 4], thickness: usize, color: u32, dashed: bool) {
    let [x, y, width, height] = rect;
    let length = |value: i64| usize::try_from(value).unwrap_or(0);
    let (columns, rows) = (length(width), length(height));
    let thick = thickness.min(columns.div_ceil(2)).min(rows.div_ceil(2));
    let (side, inner) = (thick as i64, rows - 2 * thick.min(rows / 2));
    let (right, bottom) = (x.saturating_add(width) - side, y.saturating_add(height) - side);
    for (x, y, width, height) in [
        (x, y, columns, thick),
        (x, bottom, columns, thick),
        (x, y.saturating_add(side), thick, inner),
        (right, y.saturating_add(side), thick, inner),
    ] {
        match dashed {
            false => frame.fill(x, y, width, height, color),
            true => dashes(frame, [x, y], [width, height], thickness, color),
        }
    }
}

/// A line of dashes four times as long as they are thick.
pub fn dashes(frame: &mut FrameMut<'_>, [x, y]: [i64; 2], [width, height]: [usize; 2], thickness: usize, color: u32) {
    let dash = 4 * thickness.max(1);
    // Only those on the frame, so that a line may reach as far beyond it as it likes.
    let along = |at: i64, length: usize, frame: usize| {
        let skip = usize::try_from(at.saturating_neg()).unwrap_or(0) / (2 * dash) * 2 * dash;
        let end = usize::try_from(frame as i64 - at.min(frame as i64)).unwrap_or(0);
        (skip..length.min(end)).step_by(2 * dash)
    };
    if width >= height {
        for from in along(x, width, frame.width) {
            frame.fill(
                x.saturating_add_unsigned(from as u64),
                y,
                dash.min(width - from),
                height,
                color,
            );
        }
    } else {
        for from in along(y, height, frame.height) {
            frame.fill(
                x,
                y.saturating_add_unsigned(from as u64),
                width,
                dash.min(height - from),
                color,
            );
        }
    }
}
