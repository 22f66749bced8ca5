//! Where everything goes.

use super::settings::Layers;

/// A rectangle of the frame, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    pub x: i64,
    pub y: i64,
    pub width: i64,
    pub height: i64,
}

impl Rect {
    pub fn new([x, y, width, height]: [i64; 4]) -> Self {
        Self { x, y, width, height }
    }

    pub fn right(&self) -> i64 {
        self.x.saturating_add(self.width)
    }

    pub fn bottom(&self) -> i64 {
        self.y.saturating_add(self.height)
    }

    pub fn touches(&self, other: &Self) -> bool {
        self.x < other.right() && other.x < self.right() && self.y < other.bottom() && other.y < self.bottom()
    }

    pub fn contains(&self, other: &Self) -> bool {
        self.x <= other.x && self.y <= other.y && other.right() <= self.right() && other.bottom() <= self.bottom()
    }

    /// As far as it lies in `area`.
    pub fn within(&self, area: &Self) -> Self {
        let (x, y) = (self.x.clamp(area.x, area.right()), self.y.clamp(area.y, area.bottom()));
        let (right, bottom) = (
            self.right().clamp(x, area.right()),
            self.bottom().clamp(y, area.bottom()),
        );
        Self::new([x, y, right - x, bottom - y])
    }
}

/// Lengths in pixels that follow from the frame's size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Height of a line of the bar's text.
    pub text: usize,
    /// Height of a line of other text.
    pub small: usize,
    /// Thickness of boxes.
    pub line: usize,
    /// Thickness of the frame.
    pub frame: usize,
    /// From the frame's edge to text and panels.
    pub margin: usize,
}

impl Sizes {
    /// Fewer pixels a line cannot be read.
    const LEAST: [f64; 2] = [12.0, 11.0];
    /// Heights of lines as shares of the frame.
    const SHARES: [f64; 2] = [0.042, 0.03];

    fn new([width, height]: [usize; 2], text_scale: f64) -> Self {
        let base = height.min(width * 3 / 4) as f64;
        let [text, small] = [0, 1].map(|i| {
            let line = (base * Self::SHARES[i]).max(Self::LEAST[i]) * text_scale;
            (line.round() as usize).max(1)
        });
        let frame = (base / 72.0).round().max(2.0) as usize;
        Self {
            text,
            small,
            line: (base / 270.0).round().max(1.0) as usize,
            frame,
            margin: frame + small / 2,
        }
    }

    /// Height of a plate behind a line of text.
    pub fn plate(line: usize) -> usize {
        line + 2 * Self::pad(line)
    }

    /// From the edge of such a plate to its text.
    pub fn pad(line: usize) -> usize {
        line / 6 + 1
    }
}

/// Where the parts with a fixed place go; those that have no room there are left out, the last ones first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    pub sizes: Sizes,
    /// All but the place of the red frame.
    pub inner: Rect,
    /// Over the whole width at the bottom, or nothing where it would hide more than a third.
    pub bar: Option<Rect>,
    /// At the left top; as wide as it may be.
    pub badge: Option<Rect>,
    /// At the right, above the bar; as wide as it may be.
    pub legend: Option<Rect>,
    /// At the left, above the bar.
    pub history: Option<Rect>,
    /// Of the classes: at the right top, as wide and as high as it may be.
    pub classes: Option<Rect>,
}

impl Layout {
    pub fn new(size: [usize; 2], text_scale: f64, layers: Layers) -> Self {
        let sizes = Sizes::new(size, text_scale);
        let [width, height] = size.map(|side| side as i64);
        let (margin, small) = (sizes.margin as i64, sizes.small as i64);

        let bar_height = (sizes.text / 8 + 1 + sizes.text + sizes.text / 3 + sizes.frame) as i64;
        let bar = Rect::new([0, height - bar_height, width, bar_height]);
        let has_label = layers.contains(Layers::LABEL);
        let bar = Some(bar).filter(|_| has_label && 3 * bar_height <= height);
        let bottom = bar.map_or(height, |bar| bar.y);

        let badge = [margin, margin, width - 2 * margin, Sizes::plate(sizes.text) as i64];
        let badge = Some(Rect::new(badge)).filter(|badge| {
            let fits = 2 * badge.bottom() <= bottom && badge.width >= 4 * sizes.text as i64;
            layers.contains(Layers::FRAME) && fits && (bar.is_some() || !has_label)
        });

        // From the badge to the bar.
        let room = bottom - margin - badge.map_or(margin, |badge| badge.bottom() + margin);
        let panel = |x: i64, width: i64, height: i64| Rect::new([x, bottom - margin - height, width, height]);
        let [legend_width, legend_height] = [width / 5, (8 * small).min(room)];
        let legend = panel(width - margin - legend_width, legend_width, legend_height);
        let legend = Some(legend).filter(|_| {
            let fits = legend_height >= 5 * small && width >= 16 * small;
            layers.contains(Layers::LEGEND | Layers::HEATMAP) && fits
        });
        let [history_width, history_height] = [width * 3 / 10, (height / 8).max(3 * small)];
        let history = Some(panel(margin, history_width, history_height)).filter(|_| {
            let fits = 2 * history_height <= room && history_width >= 8 * small;
            layers.contains(Layers::HISTORY) && fits
        });
        // Beside the word on the frame, above the legend.
        let end = legend.map_or(bottom, |legend| legend.y) - margin;
        let classes = [width / 2, margin, width / 2 - margin, end - margin];
        let classes = Some(Rect::new(classes)).filter(|place| {
            let fits = place.height >= 3 * small && place.width >= 8 * small;
            layers.contains(Layers::LEGEND | Layers::MASK) && fits
        });
        let edge = if layers.contains(Layers::FRAME) {
            sizes.frame as i64
        } else {
            0
        };
        let inner = [edge, edge, (width - 2 * edge).max(0), (height - 2 * edge).max(0)];
        Self {
            sizes,
            inner: Rect::new(inner),
            bar,
            badge,
            legend,
            history,
            classes,
        }
    }
}

/// Places for a tag of `[width, height]` at a box, the best first: above it, below it, beside it.
fn places(mark: &Rect, [width, height]: [i64; 2], area: &Rect) -> [Rect; 6] {
    let x = mark.x.min(area.right() - width).max(area.x);
    let y = mark.y.min(area.bottom() - height).max(area.y);
    let above = mark.y.saturating_sub(height);
    [
        [x, above],
        [x, mark.bottom()],
        [mark.right() - width, above],
        [mark.right() - width, mark.bottom()],
        [mark.right(), y],
        [mark.x.saturating_sub(width), y],
    ]
    .map(|[x, y]| Rect::new([x, y, width, height]))
}

/// Where a tag of `[width, height]` goes that belongs to the box `mark`: where it hides neither the box nor a panel or another tag in `taken`, if
/// possible no other box in `boxes` either; in a box that leaves no room around it, at its top, unless the tag would fill it. All in `area`; `None`
/// where there is no such place.
pub fn place_tag(mark: &Rect, tag: [i64; 2], taken: &[Rect], boxes: &[Rect], area: &Rect) -> Option<Rect> {
    let mark = mark.within(area);
    let is_free = |place: &Rect| area.contains(place) && !taken.iter().any(|other| other.touches(place));
    let places = places(&mark, tag, area);
    let around = || places.iter().filter(|place| is_free(place) && !place.touches(&mark));
    let clear = around().find(|place| !boxes.iter().any(|other| other.touches(place)));
    let inside = Rect::new([mark.x, mark.y, tag[0], tag[1]]);
    let is_large = mark.width >= tag[0] && mark.height >= 4 * tag[1];
    clear
        .or_else(|| around().next())
        .copied()
        .or(Some(inside).filter(|place| is_large && is_free(place)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(layout: &Layout) -> [bool; 4] {
        [layout.bar, layout.badge, layout.legend, layout.history].map(|part| part.is_some())
    }

    #[test]
    fn what_has_no_room_is_left_out_in_order() {
        let of = |width, height, scale| parts(&Layout::new([width, height], scale, Layers::default()));
        assert_eq!(of(1, 1, 1.0), [false; 4]);
        assert_eq!(of(64, 48, 1.0), [false; 4]);
        assert_eq!(of(160, 120, 1.0), [true, true, false, false]);
        assert_eq!(of(176, 144, 1.0), [true, true, true, false]);
        for (width, height) in [(320, 240), (640, 480), (1920, 1080), (1080, 1920), (3840, 2160)] {
            assert_eq!(of(width, height, 1.0), [true; 4], "{width}x{height}");
        }
        assert_eq!(of(640, 480, 10.0), [false; 4]);
        for scale in 10..80 {
            let found = of(640, 480, f64::from(scale) / 10.0);
            assert!(found.is_sorted_by(|a, b| a >= b), "scale {scale}: {found:?}");
        }
    }

    #[test]
    fn parts_do_not_overlap_and_keep_the_margin() {
        for width in (1..2000).step_by(37) {
            for height in (1..1200).step_by(41) {
                let layout = Layout::new([width, height], 1.0, Layers::default());
                let all = [layout.bar, layout.badge, layout.legend, layout.history];
                let all: Vec<Rect> = all.into_iter().flatten().collect();
                for (i, a) in all.iter().enumerate() {
                    let whole = Rect::new([0, 0, width as i64, height as i64]);
                    assert!(whole.contains(a), "{width}x{height}: {a:?}");
                    assert!(all[i + 1..].iter().all(|b| !a.touches(b)), "{width}x{height}: {all:?}");
                }
            }
        }
    }

    #[test]
    fn a_tag_never_hides_its_box() {
        let frame = &Rect::new([0, 0, 100, 80]);
        let tag = [30, 10];
        let place = |rect, taken: &[Rect]| place_tag(&Rect::new(rect), tag, taken, &[], frame).map(|r| [r.x, r.y]);
        assert_eq!(place([20, 30, 40, 20], &[]), Some([20, 20]), "above");
        assert_eq!(place([20, 5, 40, 20], &[]), Some([20, 25]), "below");
        assert_eq!(
            place([90, 30, 10, 20], &[]),
            Some([70, 20]),
            "above, moved into the frame"
        );
        assert_eq!(place([20, 0, 40, 80], &[]), Some([60, 0]), "beside");
        assert_eq!(
            place([-10, -10, 400, 400], &[]),
            Some([0, 0]),
            "in a box as large as the frame"
        );
        let bar = Rect::new([0, 60, 100, 20]);
        assert_eq!(place([0, 5, 100, 50], &[bar]), Some([0, 5]), "not over the bar");
        let small = &Rect::new([0, 0, 100, 25]);
        assert_eq!(place_tag(&Rect::new([0, 0, 100, 25]), tag, &[], &[], small), None);
        let boxes = [Rect::new([10, 15, 9, 9]), Rect::new([20, 30, 40, 20])];
        let found = place_tag(&boxes[1], [30, 10], &[], &boxes, frame);
        assert_eq!(found, Some(Rect::new([20, 20, 30, 10])));
        let boxes = [Rect::new([20, 15, 9, 9]), boxes[1]];
        let found = place_tag(&boxes[1], [30, 10], &[], &boxes, frame);
        assert_eq!(found.map(|place| place.y), Some(50), "not over another box");
    }
}
