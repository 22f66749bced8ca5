//! How `candleanomaly` works.

use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_candle::pixels::Frame;
use gst_candle::score::decision::{AlarmSettings, AlarmState};
use gst_candle::score::drift::{Drift, Drifted};
use gst_video::VideoInfo;

use super::attach::attach;
#[cfg(feature = "analytics")]
use super::attach::relate;
use super::inspect::{Finding, Inspector};
use super::paint::paint;
use super::settings::{Output, Settings};
use crate::common::analyzer::{self, Analyze, Own, State, Told, analyzer};
use crate::common::messages::Times;
use crate::common::pace::Pace;
use crate::common::result::AnomalyResult;
use crate::common::{engine, frame, lock};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "candleanomaly",
        gst::DebugColorFlags::empty(),
        Some("Inspection by a learned model"),
    )
});

/// What the stream made.
#[derive(Default)]
pub struct Memory {
    alarm: AlarmState,
    drift: Drift,
    /// The alarm as it was told last: the change that counts is the one from this, even over a reset.
    told: bool,
    last: Option<(Finding, AnomalyResult)>,
    /// The false-alarm rate that was looked at last, if one decided.
    rate: Option<f64>,
}

/// What the read-only properties show.
#[derive(Default, Clone, Copy)]
struct Last {
    score: f64,
    anomalous: bool,
    alarm: bool,
}

/// The element's instance.
#[derive(Default)]
pub struct CandleAnomaly {
    own: Own<Self>,
    last: Mutex<Last>,
}

impl CandleAnomaly {
    /// Runs the model on the frame and decides.
    fn inspect(
        &self,
        state: &mut State<Self>,
        settings: &Settings,
        info: &VideoInfo,
        buffer: &gst::BufferRef,
        running_time: Option<gst::ClockTime>,
    ) -> Result<(), gst::ErrorMessage> {
        self.caution(state, settings);
        let finding = state.infer(self, buffer, settings.common.gray16_white, |inspector, frame| {
            inspector.inspect(frame, settings)
        })?;
        if !finding.inspection.judged {
            state.memory.last = None;
            return Ok(());
        }
        let alarm = AlarmSettings {
            threshold: finding.threshold,
            release: settings.release(finding.threshold),
            min_frames: settings.min_frames as usize,
            of_frames: settings.of_frames as usize,
            min_duration_ns: settings.min_duration.nseconds(),
            hold_duration_ns: settings.hold_duration.nseconds(),
        };
        let time_ns = running_time.map_or(0, gst::ClockTime::nseconds);
        let (on, _) = state.memory.alarm.update(&alarm, finding.counted, time_ns);
        if settings.roi.is_none() {
            self.watch(state, finding.inspection.score, settings.drift_window as usize);
        }
        let result = AnomalyResult {
            score: f64::from(finding.inspection.score),
            threshold: f64::from(finding.threshold),
            normalized: finding.normalized(),
            anomalous: finding.counted >= finding.threshold,
            state: on,
            stale: false,
            size: [info.width() as i32, info.height() as i32],
            regions: finding.regions.clone(),
            map: finding.heat_map(),
        };
        state.memory.last = Some((finding, result));
        Ok(())
    }

    /// Lets a model that predicts see a frame that is not inspected, so that the next one can be.
    fn look(
        &self,
        state: &mut State<Self>,
        settings: &Settings,
        info: &VideoInfo,
        buffer: &gst::BufferRef,
    ) -> Result<(), gst::ErrorMessage> {
        // Nothing is known of what a gap's buffer stands for.
        if buffer.flags().contains(gst::BufferFlags::GAP) {
            state.worker.reset();
            return Ok(());
        }
        if !state.worker.predicts() {
            return Ok(());
        }
        let look = |frame: &Frame<'_>| state.worker.look(frame, settings);
        Ok(engine::run(|| {
            frame::view(buffer, info, settings.common.gray16_white, look)
        })?)
    }

    /// Warns of a false-alarm rate that is new and that the model's calibration cannot show.
    fn caution(&self, state: &mut State<Self>, settings: &Settings) {
        let rate = settings.deciding_rate();
        if rate == state.memory.rate {
            return;
        }
        state.memory.rate = rate;
        if let Some(text) = rate.and_then(|rate| state.worker.calibration().caution(rate)) {
            gst::element_imp_warning!(self, gst::ResourceError::Settings, ("{text}"));
        }
    }

    /// Warns when scores are no longer what they were at the calibration.
    fn watch(&self, state: &mut State<Self>, score: f32, window: usize) {
        let State {
            worker: inspector,
            memory,
            ..
        } = state;
        if let Some(Drifted {
            median,
            band: [low, high],
        }) = memory.drift.update(inspector.calibration(), score, window)
        {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Failed,
                ("The scores have drifted: the median of the last {window} frames is {median:.4}, that of good frames lay \
                     between {low:.4} and {high:.4} at the calibration. Look at light, focus and the camera's place, or calibrate \
                     or train anew with frames as they are now")
            );
        }
    }
}

impl Analyze for CandleAnomaly {
    type Settings = Settings;
    type Worker = Inspector;
    type Memory = Memory;
    type Result = AnomalyResult;

    fn category() -> gst::DebugCategory {
        *CAT
    }

    fn own(&self) -> &Own<Self> {
        &self.own
    }

    fn forget(inspector: &mut Inspector, memory: &mut Memory) {
        inspector.reset();
        memory.alarm.reset();
        memory.last = None;
    }

    fn begin(memory: &mut Memory) {
        memory.drift.reset();
        memory.rate = None;
    }

    fn work(
        &self,
        state: &mut State<Self>,
        settings: &Settings,
        times: Times,
        buffer: &mut gst::BufferRef,
    ) -> Result<Option<Told<AnomalyResult>>, gst::ErrorMessage> {
        let info = state.info()?;
        if buffer.flags().contains(gst::BufferFlags::DISCONT) {
            // Frames are missing before this one. All but a network that sees several goes by the frames there are and by their times: where a
            // live source or a leaky queue leaves some out again and again, no alarm would ever start otherwise.
            state.worker.reset();
        }
        let is_result = state.memory.last.is_some();
        let pace = state.pace(self, &settings.common, times, buffer, is_result);
        if pace == Pace::Infer {
            self.inspect(state, settings, &info, buffer, times.running)?;
        } else {
            self.look(state, settings, &info, buffer)?;
            if let Some((_, result)) = &mut state.memory.last {
                result.stale = true;
            }
        }
        let Some((finding, result)) = &mut state.memory.last else {
            return Ok(None);
        };
        // Also on a frame that was not inspected the output is as it is set now.
        result.size = settings.output.size([info.width() as i32, info.height() as i32]);
        if settings.output != Output::Passthrough {
            engine::run(|| {
                frame::draw(buffer, &info, settings.common.gray16_white, |frame| {
                    paint(settings.output, frame, finding)
                })
            })?;
        }
        if settings.common.attach_meta {
            let size = [info.width(), info.height()];
            attach(buffer, result, size);
            #[cfg(feature = "analytics")]
            relate(buffer, finding, result, size);
        }
        if result.stale {
            return Ok(None);
        }
        let changed = state.memory.told != result.state;
        state.memory.told = result.state;
        let due = state.poster.is_due(&settings.common, changed, times.running);
        Ok(Some(Told {
            result: result.clone(),
            changed,
            due,
        }))
    }

    fn show(&self, result: &AnomalyResult) {
        let now = Last {
            score: result.score,
            anomalous: result.anomalous,
            alarm: result.state,
        };
        let before = std::mem::replace(&mut *lock(&self.last), now);
        let obj = self.obj();
        obj.notify("last-score");
        if before.anomalous != now.anomalous {
            obj.notify("anomalous");
        }
        if before.alarm != now.alarm {
            obj.notify("alarm");
        }
    }

    fn shown(&self, name: &str) -> Option<glib::Value> {
        let last = *lock(&self.last);
        match name {
            "last-score" => Some(last.score.to_value()),
            "anomalous" => Some(last.anomalous.to_value()),
            "alarm" => Some(last.alarm.to_value()),
            _ => None,
        }
    }

    fn show_nothing(&self) {
        *lock(&self.last) = Last::default();
    }
}

analyzer!(
    CandleAnomaly,
    super::CandleAnomaly,
    "GstCandleAnomaly",
    [
        "Learned inspection",
        "Filter/Analyzer/Video",
        "Finds what does not look like the good frames a model was trained on"
    ]
);
