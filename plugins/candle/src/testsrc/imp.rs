//! What the element does.

use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;
use gst_candle::data::line::{self, Part};
use gst_candle::pixels::Image;

use super::settings::Settings;
use super::timeline::{Tick, Timeline};
use crate::common::frame::{TRUTH, TRUTH_PARAM, caps, frame_mut};
use crate::common::lock;
use crate::common::stats::Meter;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "candletestsrc",
        gst::DebugColorFlags::empty(),
        Some("Inspection line test source"),
    )
});

struct State {
    info: gst_video::VideoInfo,
    timeline: Timeline,
}

/// Waiting for the clock, which another thread may have to end.
#[derive(Debug, Default)]
struct Wait {
    clock_id: Option<gst::SingleShotClockId>,
    is_stopped: bool,
}

impl Wait {
    fn stop(&mut self) {
        self.is_stopped = true;
        if let Some(clock_id) = self.clock_id.take() {
            clock_id.unschedule();
        }
    }

    fn allow(&mut self) {
        self.is_stopped = false;
    }

    /// Whether to wait now; if so, `stop` ends it.
    fn begin(&mut self, clock_id: &gst::SingleShotClockId) -> bool {
        if !self.is_stopped {
            self.clock_id = Some(clock_id.clone());
        }
        !self.is_stopped
    }
}

/// An inspection line to try things out without a camera: parts on a belt, some with a scratch, a spot or a chip, and the noise of a sensor.
///
/// `gst-launch-1.0 candletestsrc is-live=true defect-rate=0.3 ! videoconvert ! autovideosink`
///
/// A seed fixes every pixel: the same properties and caps give the same frames each time. A live source that is held up leaves
/// frames out, as a camera does.
///
/// Each part that is whole in the frame has a region-of-interest meta of the type `truth`, with a parameter structure `candle-truth`: `index`
/// (guint64, number of the part), `defect` (string: `good`, `scratch`, `spot` or `chip`), and for a defect its box in pixels, `x`, `y`,
/// `width` and `height` (guint).
#[derive(Default)]
pub struct CandleTestSrc {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
    wait: Mutex<Wait>,
    /// Memory for the picture.
    image: Mutex<Image>,
    meter: Meter,
}

#[glib::object_subclass]
impl ObjectSubclass for CandleTestSrc {
    const NAME: &'static str = "GstCandleTestSrc";
    type Type = super::CandleTestSrc;
    type ParentType = gst_base::PushSrc;
}

impl ObjectImpl for CandleTestSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = Settings::properties();
            properties.extend(Meter::properties(Meter::DRAWING));
            properties
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        if self.meter.set(pspec.name(), value) {
            return;
        }
        lock(&self.settings).set(pspec.name(), value);
        if pspec.name() == "is-live" {
            let is_live = lock(&self.settings).is_live;
            self.obj().set_live(is_live);
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let stats = self.meter.get(pspec.name());
        stats.unwrap_or_else(|| lock(&self.settings).get(pspec.name()))
    }

    fn constructed(&self) {
        self.parent_constructed();
        self.obj().set_format(gst::Format::Time);
    }
}

impl GstObjectImpl for CandleTestSrc {}

impl ElementImpl for CandleTestSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Inspection line test source",
                "Source/Video",
                "Draws parts on a belt with seeded defects and noise, and says on each frame what is true",
                "The gst-candle authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let slowest = gst::Fraction::new(1, i32::MAX);
            let caps = caps()
                .width_range(16..)
                .height_range(16..)
                .framerate_range(slowest..)
                .build();
            vec![
                gst::PadTemplate::new("src", gst::PadDirection::Src, gst::PadPresence::Always, &caps)
                    .expect("the template is valid"),
            ]
        });
        TEMPLATES.as_ref()
    }
}

impl BaseSrcImpl for CandleTestSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        self.meter.reset();
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *lock(&self.state) = None;
        *lock(&self.image) = Image::default();
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        !self.obj().is_live()
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        lock(&self.wait).stop();
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        lock(&self.wait).allow();
        Ok(())
    }

    fn do_seek(&self, segment: &mut gst::Segment) -> bool {
        let Some(segment) = segment.downcast_mut::<gst::ClockTime>() else {
            return false;
        };
        segment.set_time(segment.start());
        let (position, backwards) = (segment.position().unwrap_or_default(), segment.rate() < 0.0);
        if let Some(state) = lock(&self.state).as_mut() {
            state.timeline.seek(position, backwards);
        }
        true
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        let duration = |frames: u64| {
            let state = lock(&self.state);
            state.as_ref().map(|state| state.timeline.length(frames))
        };
        match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => {
                // A camera hands a frame over when it is complete: a frame's duration after it began.
                let Some(frame) = duration(1) else { return false };
                latency.set(self.obj().is_live(), frame, gst::ClockTime::NONE);
                true
            }
            gst::QueryViewMut::Duration(query) if query.format() == gst::Format::Time => {
                let Ok(frames) = u64::try_from(self.obj().property::<i32>("num-buffers")) else {
                    return false;
                };
                let Some(all) = duration(frames) else { return false };
                query.set(all);
                true
            }
            _ => BaseSrcImplExt::parent_query(self, query),
        }
    }

    fn fixate(&self, mut caps: gst::Caps) -> gst::Caps {
        caps.truncate();
        if let Some(structure) = caps.make_mut().structure_mut(0) {
            structure.fixate_field_nearest_int("width", 480);
            structure.fixate_field_nearest_int("height", 360);
            structure.fixate_field_nearest_fraction("framerate", gst::Fraction::new(30, 1));
            if structure.has_field("pixel-aspect-ratio") {
                structure.fixate_field_nearest_fraction("pixel-aspect-ratio", gst::Fraction::new(1, 1));
            }
        }
        self.parent_fixate(caps)
    }

    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let info = gst_video::VideoInfo::from_caps(caps)
            .map_err(|_| gst::loggable_error!(CAT, "The caps {caps} do not describe a video"))?;
        let rate = [info.fps().numer(), info.fps().denom()].map(|part| u64::try_from(part).unwrap_or(0).max(1));
        let mut state = lock(&self.state);
        let timeline = match state.take() {
            Some(state) => state.timeline.with_rate(rate),
            None => Timeline::new(rate),
        };
        *state = Some(State { info, timeline });
        Ok(())
    }

    fn decide_allocation(&self, query: &mut gst::query::Allocation) -> Result<(), gst::LoggableError> {
        let caps = query
            .get_owned()
            .0
            .ok_or_else(|| gst::loggable_error!(CAT, "No caps to allocate frames for"))?;
        let info = gst_video::VideoInfo::from_caps(&caps)
            .map_err(|_| gst::loggable_error!(CAT, "The caps {caps} do not describe a video"))?;
        let offered = query.allocation_pools().next().map(|pool| pool.to_owned());
        let is_offered = offered.is_some();
        let (pool, size, min, max) = offered.unwrap_or((None, 0, 0, 0));
        let size = size.max(u32::try_from(info.size()).unwrap_or(u32::MAX));
        let pool = pool.unwrap_or_else(|| gst_video::VideoBufferPool::new().upcast());
        let mut config = pool.config();
        config.set_params(Some(&caps), size, min, max);
        if query.find_allocation_meta::<gst_video::VideoMeta>().is_some() {
            config.add_option(gst_video::BUFFER_POOL_OPTION_VIDEO_META.as_ref());
        }
        pool.set_config(config)
            .map_err(|error| gst::loggable_error!(CAT, "The buffer pool refuses {caps}: {error}"))?;
        if is_offered {
            query.set_nth_allocation_pool(0, Some(&pool), size, min, max);
        } else {
            query.add_allocation_pool(Some(&pool), size, min, max);
        }
        self.parent_decide_allocation(query)
    }
}

impl PushSrcImpl for CandleTestSrc {
    fn create(&self, buffer: Option<&mut gst::BufferRef>) -> Result<CreateSuccess, gst::FlowError> {
        let (info, tick) = self.advance()?;
        let begin = Instant::now();
        let created = match buffer {
            Some(buffer) => {
                self.fill(buffer, &info, &tick)?;
                CreateSuccess::FilledBuffer
            }
            None => {
                let mut buffer = match self.obj().buffer_pool() {
                    Some(pool) => pool.acquire_buffer(None)?,
                    None => gst::Buffer::with_size(info.size()).map_err(|_| gst::FlowError::Error)?,
                };
                self.fill(buffer.make_mut(), &info, &tick)?;
                CreateSuccess::NewBuffer(buffer)
            }
        };
        self.meter.record(begin.elapsed());
        if self.obj().is_live() {
            self.wait_until(tick.pts + tick.duration).inspect_err(|_| {
                if let Some(state) = lock(&self.state).as_mut() {
                    state.timeline.interrupt();
                }
            })?;
        }
        self.leave(tick.pts);
        Ok(created)
    }
}

impl CandleTestSrc {
    /// The frame to draw now.
    fn advance(&self) -> Result<(gst_video::VideoInfo, Tick), gst::FlowError> {
        let now = self.obj().current_running_time().filter(|_| self.obj().is_live());
        let mut state = lock(&self.state);
        let state = state.as_mut().ok_or(gst::FlowError::NotNegotiated)?;
        if let Some(now) = now {
            state.timeline.catch_up(now);
        }
        let tick = state.timeline.advance().ok_or(gst::FlowError::Eos)?;
        if tick.discont {
            gst::debug!(CAT, imp = self, "goes on with frame {} at {}", tick.frame, tick.pts);
        }
        Ok((state.info.clone(), tick))
    }

    /// A frame leaves.
    fn leave(&self, pts: gst::ClockTime) {
        let obj = self.obj();
        let segment = obj.segment().downcast::<gst::ClockTime>().ok();
        let running_time = segment.and_then(|segment| segment.to_running_time(pts));
        self.meter.count();
        self.meter
            .leave(obj.upcast_ref(), *CAT, running_time, || self.meter.to_structure());
    }

    /// Sleeps until `running_time` by the pipeline's clock, or until a pause in between is over.
    fn wait_until(&self, running_time: gst::ClockTime) -> Result<(), gst::FlowError> {
        let obj = self.obj();
        let (Some(clock), Some(base_time)) = (obj.clock(), obj.base_time()) else {
            return Ok(());
        };
        let clock_id = clock.new_single_shot_id(base_time + running_time);
        if lock(&self.wait).begin(&clock_id) {
            let waited = clock_id.wait().0;
            lock(&self.wait).clock_id = None;
            if waited != Err(gst::ClockError::Unscheduled) {
                return Ok(());
            }
        }
        // The frame is given up only for a flush or the end. Over a pause it is kept: whoever gives it up is paused, and in GStreamer 1.26
        // that may come after the start by which the next state change means to go on.
        obj.wait_playing()?;
        lock(&self.wait).allow();
        Ok(())
    }

    /// Draws the frame, and says what is true of it.
    fn fill(
        &self,
        buffer: &mut gst::BufferRef,
        info: &gst_video::VideoInfo,
        tick: &Tick,
    ) -> Result<(), gst::FlowError> {
        let settings = lock(&self.settings).clone();
        let line = settings.line([info.width() as usize, info.height() as usize]);
        let mut image = lock(&self.image);
        let parts = line::render_into(&line, tick.frame, &mut image);
        let written = write(buffer, info, &image);
        drop(image);
        written.map_err(|error| {
            gst::element_imp_error!(self, gst::ResourceError::Write, ("Cannot draw on a buffer: {error}"));
            gst::FlowError::Error
        })?;
        for part in parts.iter().filter(|part| part.whole) {
            attach_truth(buffer, part);
        }
        buffer.set_pts(tick.pts);
        buffer.set_duration(tick.duration);
        buffer.set_offset(tick.frame);
        buffer.set_offset_end(tick.frame + 1);
        if tick.discont {
            buffer.set_flags(gst::BufferFlags::DISCONT);
        }
        Ok(())
    }
}

/// Writes `image` to the buffer in the format of `info`, opaque where that has alpha.
fn write(
    buffer: &mut gst::BufferRef,
    info: &gst_video::VideoInfo,
    image: &Image,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut frame = gst_video::VideoFrameRef::from_buffer_ref_writable(buffer, info)?;
    if info.is_rgb() && info.comp_pstride(0) == 4 {
        frame.plane_data_mut(0)?.fill(255);
    }
    frame_mut(&mut frame, 0)?.write(image);
    Ok(())
}

/// Adds the region-of-interest meta `truth` of a part.
fn attach_truth(buffer: &mut gst::BufferRef, part: &Part) {
    let pixels = |rect: [usize; 4]| rect.map(|length| u32::try_from(length).unwrap_or(u32::MAX));
    let [x, y, width, height] = pixels(part.bounds);
    let mut meta = gst_video::VideoRegionOfInterestMeta::add(buffer, TRUTH, (x, y, width, height));
    let label = part.defect.map_or(line::CLASSES[0], |(kind, _)| kind.name());
    let mut truth = gst::Structure::builder(TRUTH_PARAM)
        .field("index", part.index)
        .field("defect", label);
    if let Some((_, rect)) = part.defect {
        let [x, y, width, height] = pixels(rect);
        truth = truth
            .field("x", x)
            .field("y", y)
            .field("width", width)
            .field("height", height);
    }
    meta.add_param(truth.build());
}
