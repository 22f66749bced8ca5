//! What the user can say about pictures and clips.

use gst::glib;
use gst::prelude::*;

use super::event::SnapshotOn;
use crate::common::settings::{get, gray16_white, nanoseconds};

/// H.264 of steady quality, fast enough to run beside inference; each frame leaves the encoder at once.
const CLIP_ENCODER: &str = "capsfilter caps=video/x-raw,format=I420 \
    ! x264enc tune=zerolatency speed-preset=superfast pass=qual quantizer=23 ! h264parse";

/// How pictures are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstCandleSnapshotFormat")]
#[repr(i32)]
pub enum SnapshotFormat {
    #[enum_value(name = "PNG: every pixel as it is", nick = "png")]
    Png,
    #[default]
    #[enum_value(name = "JPEG: smaller and faster", nick = "jpeg")]
    Jpeg,
}

/// The element's properties.
#[derive(Debug, Clone)]
pub struct Settings {
    pub location: Option<String>,
    pub on: SnapshotOn,
    pub labels: Option<String>,
    pub format: SnapshotFormat,
    pub quality: u32,
    pub gray16_white: u16,
    pub min_interval: gst::ClockTime,
    pub clip_before: gst::ClockTime,
    pub clip_after: gst::ClockTime,
    pub clip_max: gst::ClockTime,
    pub clip_encoder: String,
    pub max_files: u32,
    pub max_size: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            location: None,
            on: SnapshotOn::ALARM_BEGIN | SnapshotOn::LABEL_CHANGE | SnapshotOn::CLASS_BEGIN,
            labels: None,
            format: SnapshotFormat::default(),
            quality: 90,
            gray16_white: 0,
            min_interval: gst::ClockTime::ZERO,
            clip_before: gst::ClockTime::ZERO,
            clip_after: gst::ClockTime::ZERO,
            clip_max: gst::ClockTime::from_seconds(60),
            clip_encoder: CLIP_ENCODER.into(),
            max_files: 0,
            max_size: 0,
        }
    }
}

impl Settings {
    /// The specifications of the properties.
    pub fn properties() -> Vec<glib::ParamSpec> {
        let mut properties = Self::picture_properties();
        properties.extend(Self::clip_properties());
        properties.extend(Self::folder_properties());
        properties
    }

    fn picture_properties() -> Vec<glib::ParamSpec> {
        let defaults = Self::default();
        vec![
            glib::ParamSpecFlags::builder::<SnapshotOn>("on")
                .nick("On")
                .blurb("What a picture, and a clip if any, is made of.")
                .default_value(defaults.on)
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("labels")
                .nick("Labels")
                .blurb(
                    "The labels, separated by commas, to which a change counts with `on=label-change`, and the classes that count \
                     with `on=class-begin`; nothing stands for every one. The stream's first label is no change, unless it is named here.",
                )
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder::<SnapshotFormat>("format")
                .nick("Format")
                .blurb("How pictures are stored.")
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt::builder("quality")
                .nick("Quality")
                .blurb("The quality of JPEG pictures, up to 100, the best.")
                .maximum(100)
                .default_value(defaults.quality)
                .mutable_playing()
                .build(),
            gray16_white(),
            glib::ParamSpecUInt64::builder("min-interval")
                .nick("Minimum interval")
                .blurb("The least time, in nanoseconds of the stream, from one picture to the next; what happens in between is passed over.")
                .default_value(defaults.min_interval.nseconds())
                .mutable_playing()
                .build(),
        ]
    }

    fn clip_properties() -> Vec<glib::ParamSpec> {
        let defaults = Self::default();
        vec![
            glib::ParamSpecUInt64::builder("clip-before")
                .nick("Clip before")
                .blurb("How much of the time before, in nanoseconds, a clip shows. With `clip-after` 0 as well, there are no clips.")
                .default_value(defaults.clip_before.nseconds())
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt64::builder("clip-after")
                .nick("Clip after")
                .blurb("How much of the time after, in nanoseconds, a clip shows. With `clip-before` 0 as well, there are no clips.")
                .default_value(defaults.clip_after.nseconds())
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt64::builder("clip-max")
                .nick("Longest clip")
                .blurb("How long, in nanoseconds, a clip may become when more happens while it is recorded.")
                .default_value(defaults.clip_max.nseconds())
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("clip-encoder")
                .nick("Clip encoder")
                .blurb(
                    "The elements that encode clips, as on a launch line: they take raw video and end in what a Matroska file can \
                     hold, mostly a parser's output. A key frame is asked of them each second.",
                )
                .default_value(Some(CLIP_ENCODER))
                .mutable_ready()
                .build(),
        ]
    }

    fn folder_properties() -> Vec<glib::ParamSpec> {
        vec![
            glib::ParamSpecString::builder("location")
                .nick("Location")
                .blurb("The folder for pictures and clips; it is made where there is none.")
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt::builder("max-files")
                .nick("Most files")
                .blurb(
                    "How many files of this element's name may lie in the folder; the oldest go, a picture and its clip together. \
                     0 stands for any number.",
                )
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("max-size")
                .nick("Largest size")
                .blurb(
                    "How many bytes the files of this element's name in the folder may take together; the oldest go, a picture and \
                     its clip together. 0 stands for any number.",
                )
                .mutable_playing()
                .build(),
            glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
                .nick("Statistics")
                .blurb(
                    "Since the start: events, files written, pictures and clips dropped because the writer was behind, frames \
                     missing in clips, files that failed, and old files removed.",
                )
                .read_only()
                .build(),
        ]
    }

    /// Sets the property `name`; its type is checked by GObject.
    pub fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
            "location" => self.location = get(value),
            "on" => self.on = get(value),
            "labels" => self.labels = get(value),
            "format" => self.format = get(value),
            "quality" => self.quality = get(value),
            "gray16-white" => self.gray16_white = get::<u32>(value) as u16,
            "min-interval" => self.min_interval = nanoseconds(value),
            "clip-before" => self.clip_before = nanoseconds(value),
            "clip-after" => self.clip_after = nanoseconds(value),
            "clip-max" => self.clip_max = nanoseconds(value),
            "clip-encoder" => self.clip_encoder = get::<Option<String>>(value).unwrap_or_else(|| CLIP_ENCODER.into()),
            "max-files" => self.max_files = get(value),
            "max-size" => self.max_size = get(value),
            _ => unreachable!("no property {name}"),
        }
    }

    /// The value of the property `name`.
    pub fn get(&self, name: &str) -> glib::Value {
        match name {
            "location" => self.location.to_value(),
            "on" => self.on.to_value(),
            "labels" => self.labels.to_value(),
            "format" => self.format.to_value(),
            "quality" => self.quality.to_value(),
            "gray16-white" => u32::from(self.gray16_white).to_value(),
            "min-interval" => self.min_interval.nseconds().to_value(),
            "clip-before" => self.clip_before.nseconds().to_value(),
            "clip-after" => self.clip_after.nseconds().to_value(),
            "clip-max" => self.clip_max.nseconds().to_value(),
            "clip-encoder" => self.clip_encoder.to_value(),
            "max-files" => self.max_files.to_value(),
            "max-size" => self.max_size.to_value(),
            _ => unreachable!("no property {name}"),
        }
    }

    /// Whether clips are made at all.
    pub fn has_clips(&self) -> bool {
        !self.clip_before.is_zero() || !self.clip_after.is_zero()
    }

    /// The labels that count, if not all do.
    pub fn wanted_labels(&self) -> Option<impl Iterator<Item = &str>> {
        let labels = self.labels.as_deref().filter(|labels| !labels.trim().is_empty())?;
        Some(labels.split(',').map(str::trim))
    }
}
