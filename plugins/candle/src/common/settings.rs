//! Properties that mean the same on every element with a model.

use std::str::FromStr;

use gst::{glib, prelude::*};
use gst_candle::exec;

use super::live::Live;

/// Number format of the arithmetic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstCandlePrecision")]
#[repr(i32)]
pub enum Precision {
    #[default]
    #[enum_value(name = "The fastest that keeps the model's quality", nick = "auto")]
    Auto,
    #[enum_value(name = "32-bit floats", nick = "f32")]
    F32,
    #[enum_value(name = "16-bit brain floats with 32-bit sums", nick = "bf16")]
    Bf16,
}

/// Which inferred frames are told on the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, glib::Enum)]
#[enum_type(name = "GstCandlePostMessages")]
#[repr(i32)]
pub enum PostMessages {
    #[enum_value(name = "No frame", nick = "none")]
    None,
    #[default]
    #[enum_value(name = "Frames on which the result changes", nick = "change")]
    Change,
    #[enum_value(name = "Changes, and one frame each message-interval", nick = "interval")]
    Interval,
    #[enum_value(name = "Every inferred frame", nick = "all")]
    All,
}

/// What every element with a model can be told.
#[derive(Debug, Clone)]
pub struct Settings {
    pub model_file: Option<String>,
    pub watch_model: bool,
    pub device: String,
    pub precision: Precision,
    pub threads: u32,
    pub gray16_white: u16,
    pub inference_interval: u32,
    pub max_lag: gst::ClockTime,
    pub post_messages: PostMessages,
    pub message_interval: gst::ClockTime,
    pub attach_meta: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model_file: None,
            watch_model: false,
            device: "auto".into(),
            precision: Precision::default(),
            threads: 0,
            gray16_white: 0,
            inference_interval: 1,
            max_lag: gst::ClockTime::ZERO,
            post_messages: PostMessages::default(),
            message_interval: gst::ClockTime::SECOND,
            attach_meta: true,
        }
    }
}

impl Settings {
    /// The specifications of these properties and of those of [`Live`].
    pub fn properties() -> Vec<glib::ParamSpec> {
        let mut properties = Self::model_properties();
        properties.extend(Self::stream_properties());
        properties.extend(Live::properties());
        properties
    }

    fn model_properties() -> Vec<glib::ParamSpec> {
        vec![
            glib::ParamSpecString::builder("model-file")
                .nick("Model file")
                .blurb(
                    "The model to run, a file made by `gst-candle train`. Set while frames flow, it is loaded in the background \
                     and takes over between two frames; the message `model-reloaded` says when. One that cannot be used is told by \
                     `model-rejected`, and the one before stays.",
                )
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("watch-model")
                .nick("Watch the model")
                .blurb("Whether the model is loaded again, as if it were set, when its file has changed.")
                .mutable_playing()
                .build(),
            glib::ParamSpecString::builder("device")
                .nick("Device")
                .blurb("Where the model runs: `auto`, `cpu`, or `cuda:N` for the CUDA device of that number.")
                .default_value(Some("auto"))
                .mutable_ready()
                .build(),
            glib::ParamSpecEnum::builder::<Precision>("precision")
                .nick("Precision")
                .blurb("The number format of the model's arithmetic.")
                .mutable_ready()
                .build(),
            glib::ParamSpecUInt::builder("threads")
                .nick("Threads")
                .blurb("How many CPU threads the model may use; 0 stands for all cores.")
                .maximum(gst_candle::exec::MOST_THREADS)
                .mutable_ready()
                .build(),
            gray16_white(),
        ]
    }

    fn stream_properties() -> Vec<glib::ParamSpec> {
        let defaults = Self::default();
        vec![
            glib::ParamSpecUInt::builder("inference-interval")
                .nick("Inference interval")
                .blurb("Every how many frames the model runs; 1 stands for every frame.")
                .minimum(1)
                .default_value(defaults.inference_interval)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("max-lag")
                .nick("Largest lag")
                .blurb(
                    "How far behind the clock, beyond the pipeline's latency, a frame may be and still be inferred, in nanoseconds; \
                     a later frame passes without inference. 0 stands for any time. With `qos`, a sink may find a frame late before.",
                )
                .default_value(defaults.max_lag.nseconds())
                .mutable_playing()
                .build(),
            glib::ParamSpecEnum::builder::<PostMessages>("post-messages")
                .nick("Post messages")
                .blurb("Which inferred frames are told in an element message on the bus.")
                .default_value(defaults.post_messages)
                .mutable_playing()
                .build(),
            glib::ParamSpecUInt64::builder("message-interval")
                .nick("Message interval")
                .blurb("The stream time between messages, in nanoseconds, with `post-messages=interval`.")
                .default_value(defaults.message_interval.nseconds())
                .mutable_playing()
                .build(),
            glib::ParamSpecBoolean::builder("attach-meta")
                .nick("Attach metadata")
                .blurb("Whether the result is attached to each frame as metadata.")
                .default_value(defaults.attach_meta)
                .mutable_playing()
                .build(),
        ]
    }

    /// Sets the property `name`; `false` where it is none of these.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        match name {
            "model-file" => self.model_file = get(value),
            "watch-model" => self.watch_model = get(value),
            "device" => self.device = get::<Option<String>>(value).unwrap_or_else(|| "auto".into()),
            "precision" => self.precision = get(value),
            "threads" => self.threads = get(value),
            "gray16-white" => self.gray16_white = get::<u32>(value) as u16,
            "inference-interval" => self.inference_interval = get(value),
            "max-lag" => self.max_lag = nanoseconds(value),
            "post-messages" => self.post_messages = get(value),
            "message-interval" => self.message_interval = nanoseconds(value),
            "attach-meta" => self.attach_meta = get(value),
            _ => return false,
        }
        true
    }

    /// The value of the property `name`, if it is one of these.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        Some(match name {
            "model-file" => self.model_file.to_value(),
            "watch-model" => self.watch_model.to_value(),
            "device" => self.device.to_value(),
            "precision" => self.precision.to_value(),
            "threads" => self.threads.to_value(),
            "gray16-white" => u32::from(self.gray16_white).to_value(),
            "inference-interval" => self.inference_interval.to_value(),
            "max-lag" => self.max_lag.nseconds().to_value(),
            "post-messages" => self.post_messages.to_value(),
            "message-interval" => self.message_interval.nseconds().to_value(),
            "attach-meta" => self.attach_meta.to_value(),
            _ => return None,
        })
    }

    /// How the model is to be run. The error says what is wrong with `device`.
    pub fn options(&self) -> gst_candle::Result<exec::Options> {
        Ok(exec::Options {
            device: exec::DeviceSpec::from_str(&self.device)?,
            precision: match self.precision {
                Precision::Auto => exec::Precision::Auto,
                Precision::F32 => exec::Precision::F32,
                Precision::Bf16 => exec::Precision::Bf16,
            },
            threads: self.threads as usize,
        })
    }
}

/// The property `gray16-white` of every element that reads or draws frames.
pub fn gray16_white() -> glib::ParamSpec {
    glib::ParamSpecUInt::builder("gray16-white")
        .nick("White of GRAY16_LE")
        .blurb(
            "The code that is white in frames of GRAY16_LE, such as 4095 for a camera of 12 bits; \
             0 stands for what the caps say, 65535 where they say nothing.",
        )
        .maximum(65535)
        .mutable_playing()
        .build()
}

/// The content of a value that GObject has checked against the property's specification.
pub fn get<'a, T: glib::value::FromValue<'a>>(value: &'a glib::Value) -> T {
    value
        .get()
        .unwrap_or_else(|_| unreachable!("GObject has checked the value's type"))
}

/// A time from a property in nanoseconds; the largest number, which GStreamer takes as no time, is one less.
pub fn nanoseconds(value: &glib::Value) -> gst::ClockTime {
    gst::ClockTime::from_nseconds(get::<u64>(value).min(gst::ClockTime::MAX.nseconds()))
}

/// Says in the log when a property that is read at the start is set on an element that has started.
pub fn warn_if_late(cat: gst::DebugCategory, element: &impl IsA<gst::Element>, pspec: &glib::ParamSpec) {
    let needs_restart = !pspec.flags().contains(gst::PARAM_FLAG_MUTABLE_PLAYING);
    if needs_restart && element.current_state() > gst::State::Ready {
        gst::warning!(
            cat,
            obj = element,
            "`{}` takes effect at the next start, from READY",
            pspec.name()
        );
    }
}
