//! Properties of `candleanomaly`.

use std::str::FromStr;

use gst::{glib, prelude::*};
use gst_candle::model::AnomalyCalibration;

use crate::common::analyzer::Properties;
use crate::common::settings::{self, get, nanoseconds};

/// What the frames that leave show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstCandleAnomalyOutput")]
#[repr(i32)]
pub enum Output {
    #[default]
    #[enum_value(name = "The frame as it came", nick = "passthrough")]
    Passthrough,
    #[enum_value(name = "The frame under its heat map", nick = "heatmap")]
    Heatmap,
    #[enum_value(name = "The model's reconstruction of the frame", nick = "reconstruction")]
    Reconstruction,
    #[enum_value(
        name = "The frame on the left, and under its heat map on the right",
        nick = "side-by-side"
    )]
    SideBySide,
}

impl Output {
    /// The size in which results are told of a frame of `[width, height]`: side by side, the frame that leaves is two of them.
    pub fn size(self, [width, height]: [i32; 2]) -> [i32; 2] {
        [if self == Self::SideBySide { 2 * width } else { width }, height]
    }
}

/// A part of the frame, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

impl FromStr for Rect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<usize>, _> = text.split(',').map(|number| number.trim().parse()).collect();
        match numbers.as_deref() {
            Ok(&[x, y, width, height]) if width > 0 && height > 0 => Ok(Self { x, y, width, height }),
            _ => Err(format!(
                "`roi={text}` is not a region: it takes four whole numbers of pixels, such as 10,20,320,240 for x,y,width,height"
            )),
        }
    }
}

impl Rect {
    /// The part of it that lies in a frame of `[width, height]`.
    pub fn within(self, [width, height]: [usize; 2]) -> Option<Self> {
        let (x, y) = (self.x.min(width), self.y.min(height));
        let part = Self {
            x,
            y,
            width: self.width.min(width - x),
            height: self.height.min(height - y),
        };
        (part.width > 0 && part.height > 0).then_some(part)
    }
}

/// What the user set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What all elements share.
    pub common: settings::Settings,
    /// Least raw score that is anomalous; below 0 the model's.
    pub threshold: f32,
    /// Share of good frames that may alarm; 0 = as the model was calibrated.
    pub false_alarm_rate: f64,
    /// Pixels a region must have to count.
    pub min_area: u32,
    pub min_duration: gst::ClockTime,
    pub hold_duration: gst::ClockTime,
    /// Anomalous frames that an alarm takes, of the last so many.
    pub min_frames: u32,
    pub of_frames: u32,
    /// Share of the threshold by which scores must fall below it for an alarm to end, 0..1.
    pub hysteresis: f32,
    /// Frames whose median score is watched; 0 = none.
    pub drift_window: u32,
    /// As it was set.
    roi_text: String,
    /// The part to inspect; `None` = the whole frame.
    pub roi: Option<Rect>,
    pub output: Output,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            common: settings::Settings::default(),
            threshold: -1.0,
            false_alarm_rate: 0.0,
            min_area: 0,
            min_duration: gst::ClockTime::ZERO,
            hold_duration: gst::ClockTime::ZERO,
            min_frames: 1,
            of_frames: 1,
            hysteresis: 0.0,
            drift_window: 1000,
            roi_text: String::new(),
            roi: None,
            output: Output::default(),
        }
    }
}

impl Settings {
    fn decision_properties() -> [glib::ParamSpec; 3] {
        [
            glib::ParamSpecFloat::builder("threshold")
                .nick("Threshold")
                .blurb("The raw score at and above which a frame is anomalous; -1 stands for the model's own threshold.")
                .minimum(-1.0)
                .default_value(-1.0)
                .mutable_playing()
                .build(),
            glib::ParamSpecDouble::builder("false-alarm-rate")
                .nick("False-alarm rate")
                .blurb(
                    "The share of good frames that may be called anomalous, from which the model's calibration gives the \
                     threshold: 0.02 is 2 %. 0 stands for the rate the model was calibrated for. A `threshold` that is set goes \
                     first.",
                )
                .minimum(0.0)
                .maximum(0.5)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("min-area")
                .nick("Least area")
                .blurb(
                    "The number of pixels that an anomalous region must have to count; smaller ones are ignored. What lies amid \
                     conspicuous pixels belongs to a region, too, as far as the model's surroundings (`context`) raise it.",
                )
                .mutable_playing()
                .build(),
        ]
    }

    fn time_properties() -> [glib::ParamSpec; 6] {
        [
            glib::ParamSpecUInt::builder("min-frames")
                .nick("Least frames")
                .blurb("The number of frames, of the last `of-frames`, that must be anomalous before the alarm starts.")
                .minimum(1)
                .maximum(100_000)
                .default_value(1)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("of-frames")
                .nick("Of frames")
                .blurb("The number of inspected frames among which `min-frames` are looked for; at least `min-frames` are.")
                .minimum(1)
                .maximum(100_000)
                .default_value(1)
                .mutable_playing()
                .build(),
            glib::ParamSpecFloat::builder("hysteresis")
                .nick("Hysteresis")
                .blurb(
                    "The share of the threshold by which a score must fall below it before the alarm ends: at 0.2 an alarm of \
                     threshold 0.5 goes on while scores reach 0.4.",
                )
                .minimum(0.0)
                .maximum(1.0)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("drift-window")
                .nick("Drift window")
                .blurb(
                    "The number of inspected frames whose median score is watched: when it leaves the range of the good frames of \
                     the calibration, between their 10th and 90th hundredth, one warning goes on the bus, and another if it leaves it \
                     again. 0 stands for no watch; \
                     under a `roi` there is none, because the calibration is of whole frames.",
                )
                .maximum(1_000_000)
                .default_value(1000)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("min-duration")
                .nick("Least duration")
                .blurb("How long, in nanoseconds, frames must be anomalous without a break before the alarm starts.")
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("hold-duration")
                .nick("Hold duration")
                .blurb("How long, in nanoseconds, the alarm holds after the last anomalous frame.")
                .mutable_playing()
                .build(),
        ]
    }

    fn view_properties() -> [glib::ParamSpec; 2] {
        [
            glib::ParamSpecString::builder("roi")
                .nick("Region of interest")
                .blurb(
                    "The part of the frame to inspect as `x,y,width,height` in pixels; what lies outside of the frame is \
                     cut off. An empty text stands for the whole frame.",
                )
                .default_value(Some(""))
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder::<Output>("output")
                .nick("Output")
                .blurb(
                    "What the frames that leave show; only `passthrough` leaves their pixels untouched. `side-by-side` does not \
                     move what elements before this one attached to positions in the frame.",
                )
                .mutable_playing()
                .build(),
        ]
    }

    fn result_properties() -> [glib::ParamSpec; 3] {
        [
            glib::ParamSpecDouble::builder("last-score")
                .nick("Last score")
                .blurb("The raw score of the last inspected frame.")
                .minimum(f64::MIN)
                .read_only()
                .build(),
            glib::ParamSpecBoolean::builder("anomalous")
                .nick("Anomalous")
                .blurb("Whether the last inspected frame was anomalous by itself.")
                .read_only()
                .build(),
            glib::ParamSpecBoolean::builder("alarm")
                .nick("Alarm")
                .blurb("Whether the alarm is on, after `min-frames`, `min-duration`, `hold-duration` and `hysteresis`.")
                .read_only()
                .build(),
        ]
    }

    /// The region as it was set; the error says what is wrong with it.
    pub fn parse_roi(&self) -> Result<Option<Rect>, String> {
        match self.roi_text.trim() {
            "" => Ok(None),
            text => text.parse().map(Some),
        }
    }

    /// The false-alarm rate, where it and not a threshold decides.
    pub fn deciding_rate(&self) -> Option<f64> {
        (self.threshold < 0.0 && self.false_alarm_rate > 0.0).then_some(self.false_alarm_rate)
    }

    /// The raw score at and above which an alarm goes on that a threshold of `threshold` started.
    pub fn release(&self, threshold: f32) -> f32 {
        threshold * (1.0 - self.hysteresis)
    }

    /// The raw score at and above which a frame is anomalous.
    pub fn threshold(&self, calibration: &AnomalyCalibration) -> f32 {
        if self.threshold >= 0.0 {
            return self.threshold;
        }
        self.deciding_rate()
            .map_or(calibration.threshold, |rate| calibration.threshold_for(rate))
    }
}

impl Properties for Settings {
    fn common(&self) -> &settings::Settings {
        &self.common
    }

    fn common_mut(&mut self) -> &mut settings::Settings {
        &mut self.common
    }

    fn own_properties() -> Vec<glib::ParamSpec> {
        let mut properties = Vec::new();
        properties.extend(Self::decision_properties());
        properties.extend(Self::time_properties());
        properties.extend(Self::view_properties());
        properties.extend(Self::result_properties());
        properties
    }

    fn set(&mut self, name: &str, value: &glib::Value) -> Result<(), String> {
        match name {
            "threshold" => self.threshold = get(value),
            "false-alarm-rate" => self.false_alarm_rate = get(value),
            "min-area" => self.min_area = get(value),
            "min-duration" => self.min_duration = nanoseconds(value),
            "hold-duration" => self.hold_duration = nanoseconds(value),
            "min-frames" => self.min_frames = get(value),
            "of-frames" => self.of_frames = get(value),
            "hysteresis" => self.hysteresis = get(value),
            "drift-window" => self.drift_window = get(value),
            "roi" => {
                self.roi_text = get::<Option<String>>(value).unwrap_or_default();
                self.roi = self.parse_roi()?;
            }
            "output" => self.output = get(value),
            name => unreachable!("`{name}` is not writable"),
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "threshold" => self.threshold.to_value(),
            "false-alarm-rate" => self.false_alarm_rate.to_value(),
            "min-area" => self.min_area.to_value(),
            "min-duration" => self.min_duration.nseconds().to_value(),
            "hold-duration" => self.hold_duration.nseconds().to_value(),
            "min-frames" => self.min_frames.to_value(),
            "of-frames" => self.of_frames.to_value(),
            "hysteresis" => self.hysteresis.to_value(),
            "drift-window" => self.drift_window.to_value(),
            "roi" => self.roi_text.to_value(),
            "output" => self.output.to_value(),
            _ => return None,
        })
    }

    fn check(&self) -> Result<(), String> {
        self.parse_roi().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_read_and_cut_to_the_frame() {
        let rect = |x, y, width, height| Rect { x, y, width, height };
        assert_eq!(" 1, 2,3 ,4".parse(), Ok(rect(1, 2, 3, 4)));
        for bad in ["1,2,3", "1,2,3,4,5", "a,2,3,4", "-1,2,3,4", "1,2,0,4", "1,2,3,0", ","] {
            let error = bad.parse::<Rect>().expect_err("not a region");
            assert!(error.contains(bad) && error.contains("x,y,width,height"), "{error}");
        }
        assert_eq!(rect(1, 2, 3, 4).within([100, 100]), Some(rect(1, 2, 3, 4)));
        assert_eq!(rect(90, 95, 20, 20).within([100, 100]), Some(rect(90, 95, 10, 5)));
        assert_eq!(
            rect(0, 0, usize::MAX, usize::MAX).within([7, 5]),
            Some(rect(0, 0, 7, 5))
        );
        assert_eq!(rect(100, 0, 5, 5).within([100, 100]), None);
        assert_eq!(rect(usize::MAX, 0, 5, 5).within([100, 100]), None);
    }
}
