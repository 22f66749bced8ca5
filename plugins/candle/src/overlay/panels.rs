//! The legends of the heat map and of classes, and the history of the score.

use gst_candle::pixels::FrameMut;
use gst_candle::pixels::blend::{Layer, premultiply};
use gst_candle::pixels::heatmap::HeatColors;

use super::draw::{BLACK, FAINT, PLATE, WHITE, dashes};
use super::findings::Class;
use super::history::{COLUMNS, History};
use super::layout::{Rect, Sizes};
use super::text::{TextCache, TextError};

/// What the ends and the middle of the heat map's colours mean, from the top.
const WORDS: [&str; 3] = ["anomalous", "threshold", "normal"];
/// The curve below the threshold, and above it.
const NORMAL: [f32; 3] = [0.55, 0.8, 1.0];
const ANOMALOUS: [f32; 3] = [1.0, 0.3, 0.25];

fn plate(frame: &mut FrameMut<'_>, place: &Rect) {
    frame.fill(
        place.x,
        place.y,
        place.width as usize,
        place.height as usize,
        premultiply(BLACK, PLATE),
    );
}

/// The colours of the heat map as they are drawn, with the threshold, in words where `place` has room for them. Gives the place that it took.
pub fn legend(
    frame: &mut FrameMut<'_>,
    texts: &mut TextCache,
    colors: &HeatColors,
    place: Rect,
    sizes: &Sizes,
) -> Result<Rect, TextError> {
    let (small, pad) = (sizes.small, Sizes::pad(sizes.small) as i64);
    let scale = (small as i64 * 2 / 3).max(3);
    let mut words = 0;
    for word in WORDS {
        words = words.max(texts.picture(word, small, usize::MAX, WHITE)?.width as i64);
    }
    let full = words + scale + 6 * pad;
    let is_full = full <= place.width;
    let width = if is_full { full } else { scale + 4 * pad };
    let place = Rect {
        x: place.right() - width,
        width,
        ..place
    };
    plate(frame, &place);
    let (left, top, rows) = (
        place.right() - 2 * pad - scale,
        place.y + 2 * pad,
        place.height - 4 * pad,
    );
    for row in 0..rows {
        let code = 255 - (row * 255 + rows / 2) / (rows - 1).max(1);
        frame.fill(left, top + row, scale as usize, 1, colors.color(code as u8));
    }
    // The threshold's code is the middle one.
    let line = sizes.line as i64;
    let middle = top + rows / 2;
    let mark = |frame: &mut FrameMut<'_>, beyond: i64, color| {
        let (width, height) = (scale + 2 * (pad + beyond), line + 2 * beyond);
        frame.fill(
            left - pad - beyond,
            middle - line / 2 - beyond,
            width as usize,
            height as usize,
            color,
        );
    };
    mark(frame, 1, premultiply(BLACK, 0.7));
    mark(frame, 0, premultiply(WHITE, 1.0));
    if is_full {
        for (i, word) in WORDS.into_iter().enumerate() {
            let picture = texts.picture(word, small, usize::MAX, WHITE)?;
            let height = picture.height as i64;
            let y = [top, middle - height / 2, top + rows - height][i];
            frame.blend(&picture.layer(), left - 2 * pad - picture.width as i64, y);
        }
    }
    Ok(place)
}

/// The classes, each with its colour and the share of the frame that it takes: all of `all`, or where there is no room for them as many as there is of
/// those in `found`. Gives the place that it took.
pub fn classes(
    frame: &mut FrameMut<'_>,
    texts: &mut TextCache,
    [all, found]: &[Vec<Class>; 2],
    place: Rect,
    sizes: &Sizes,
) -> Result<Rect, TextError> {
    let (small, pad) = (sizes.small, Sizes::pad(sizes.small) as i64);
    let row = (small as i64 * 5 / 4).max(1);
    let most = usize::try_from((place.height - 2 * pad) / row).unwrap_or(0);
    let (listed, left_out) = match all.len() <= most {
        true => (all.as_slice(), 0),
        false => {
            let some = found.len().min(most.saturating_sub(1));
            (&found[..some], all.len() - some)
        }
    };
    let swatch = small as i64 * 3 / 4;
    let room = usize::try_from(place.width / 2 - 2 * pad).unwrap_or(0);
    let more = format!("and {left_out} more");
    let mut lines: Vec<(Option<&Class>, &str, &str)> = listed
        .iter()
        .map(|class| (Some(class), class.name.as_str(), class.share.as_str()))
        .collect();
    if left_out > 0 {
        lines.push((None, &more, ""));
    }
    let mut widths = [0, 0];
    for (_, name, share) in &lines {
        for (width, text) in widths.iter_mut().zip([name, share]) {
            *width = texts.picture(text, small, room, WHITE)?.width.max(*width);
        }
    }
    let [names, shares] = widths.map(|width| width as i64);
    let width = (swatch + names + shares + 6 * pad).min(place.width);
    let place = Rect {
        x: place.right() - width,
        width,
        height: row * lines.len() as i64 + 2 * pad,
        ..place
    };
    plate(frame, &place);
    for (i, (class, name, share)) in lines.into_iter().enumerate() {
        let top = place.y + pad + i as i64 * row;
        let middle = |height: i64| top + (row - height) / 2;
        if let Some(class) = class {
            let color = premultiply(class.color, if class.is_there { 1.0 } else { 0.4 });
            frame.fill(
                place.x + 2 * pad,
                middle(swatch),
                swatch as usize,
                swatch as usize,
                color,
            );
        }
        let ink = if class.is_some_and(|class| class.is_there) {
            WHITE
        } else {
            FAINT
        };
        let picture = texts.picture(name, small, room, ink)?;
        frame.blend(
            &picture.layer(),
            place.x + 3 * pad + swatch,
            middle(picture.height as i64),
        );
        let picture = texts.picture(share, small, room, ink)?;
        let left = place.right() - 2 * pad - picture.width as i64;
        frame.blend(&picture.layer(), left, middle(picture.height as i64));
    }
    Ok(place)
}

/// The history's curve, painted anew for each frame.
#[derive(Debug, Default)]
pub struct Strip {
    pixels: Vec<u32>,
}

impl Strip {
    /// The score over the last seconds: what is above the threshold's line is anomalous, what is faint was not inferred.
    pub fn draw(
        &mut self,
        frame: &mut FrameMut<'_>,
        texts: &mut TextCache,
        history: &History,
        place: Rect,
        sizes: &Sizes,
    ) -> Result<(), TextError> {
        plate(frame, &place);
        let pad = Sizes::pad(sizes.small) as i64;
        let (left, width) = (place.x + pad, (place.width - 2 * pad).max(0) as usize);
        let caption = format!("score, {}", span(history.duration()));
        let picture = texts.picture(&caption, sizes.small, width, WHITE)?;
        frame.blend(&picture.layer(), left, place.y + pad / 2);
        let top = place.y + pad / 2 + picture.height as i64;
        let height = (place.bottom() - pad - top).max(0) as usize;

        self.paint(history, [width, height], sizes.line);
        frame.blend(&Layer::new(&self.pixels, width), left, top);
        let threshold = [left, top + (height / 2) as i64];
        dashes(
            frame,
            threshold,
            [width, sizes.line],
            sizes.line,
            premultiply(WHITE, 0.9),
        );
        Ok(())
    }

    fn paint(&mut self, history: &History, [width, height]: [usize; 2], line: usize) {
        self.pixels.clear();
        self.pixels.resize(width * height, 0);
        let mut ordered = [None; COLUMNS];
        ordered
            .iter_mut()
            .zip(history.columns())
            .for_each(|(to, column)| *to = column);
        for x in 0..width {
            let Some(column) = ordered[x * COLUMNS / width] else {
                continue;
            };
            let color = if column.score < 0.5 { NORMAL } else { ANOMALOUS };
            let alpha = if column.fresh { 1.0 } else { 0.45 };
            // The line at the score, which is never below the plot's bottom, and a fainter ground under it.
            let rows = ((column.score * height as f32).round() as usize).clamp(line.min(height), height);
            let [curve, ground] = [alpha, 0.4 * alpha].map(|alpha| premultiply(color, alpha));
            for (i, y) in (height - rows..height).enumerate() {
                self.pixels[y * width + x] = if i < 2 * line { curve } else { ground };
            }
        }
    }
}

/// A time in few letters.
fn span(duration: gst::ClockTime) -> String {
    match duration.seconds() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of the curve that are drawn on, in each column of pixels.
    fn heights(history: &History, size: [usize; 2]) -> Vec<usize> {
        let mut strip = Strip::default();
        strip.paint(history, size, 1);
        let drawn = |x: &usize| (0..size[1]).filter(|y| strip.pixels[y * size[0] + x] != 0).count();
        (0..size[0]).map(|x| drawn(&x)).collect()
    }

    #[test]
    fn the_curve_is_as_high_as_the_score_and_scrolls() {
        let mut history = History::default();
        assert_eq!(heights(&history, [240, 20]), [0; 240]);
        let duration = gst::ClockTime::from_seconds(24);
        for (tenth, score) in [(0, 0.0), (1, 0.5), (2, 1.0)] {
            history.push(gst::ClockTime::from_mseconds(100 * tenth), score, true, duration);
        }
        let found = heights(&history, [240, 20]);
        assert_eq!(found[236..], [0, 1, 10, 20]);
        history.push(gst::ClockTime::from_mseconds(300), 0.25, true, duration);
        let later = heights(&history, [240, 20]);
        assert_eq!(later[..239], found[1..]);
        assert_eq!(later[239], 5);
        // Wider and narrower than there are columns.
        assert_eq!(heights(&history, [480, 20])[472..], [1, 1, 10, 10, 20, 20, 5, 5]);
        assert_eq!(heights(&history, [60, 20]).len(), 60);
        heights(&history, [0, 0]);
    }

    #[test]
    fn times_are_short() {
        let found = [1, 10, 119, 120, 3600, 7200].map(|seconds| span(gst::ClockTime::from_seconds(seconds)));
        assert_eq!(found, ["1 s", "10 s", "119 s", "2 min", "60 min", "2 h"]);
    }
}
