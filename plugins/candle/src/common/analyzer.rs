//! Elements that look at frames with a model, attach what they find and tell it: all that is the same for each of them.
//!
//! An element implements [`Analyze`]; `analyzer!` makes GStreamer's classes of that.

use std::sync::Mutex;
use std::time::Instant;

use gst::glib;
use gst_base::prelude::*;
use gst_base::subclass::prelude::*;
use gst_candle::pixels::Frame;
use gst_video::VideoInfo;

use super::engine::{self, Worker};
use super::frame;
use super::live::Live;
use super::messages::{self, Poster, Times};
use super::pace::{Pace, Pacer};
use super::reload::Reload;
use super::result::Kind;
use super::settings::{self, warn_if_late};
use super::shared::Held;
use super::slot::Slot;
use super::{failed, lock, starts_anew};

/// What the user sets of an element.
pub trait Properties: Clone + Default + Send + 'static {
    /// What all elements share.
    fn common(&self) -> &settings::Settings;
    fn common_mut(&mut self) -> &mut settings::Settings;
    /// The specifications of the properties that the element has beside the common ones.
    fn own_properties() -> Vec<glib::ParamSpec>;
    /// Those of all of its properties.
    fn properties() -> Vec<glib::ParamSpec> {
        let mut properties = settings::Settings::properties();
        properties.extend(Self::own_properties());
        properties
    }
    /// Sets a property that the element has beside the common ones; a text that means nothing is an error, and what was set before stays in
    /// force.
    fn set(&mut self, name: &str, value: &glib::Value) -> Result<(), String>;
    /// The value of such a property.
    fn get(&self, name: &str) -> Option<glib::Value>;
    /// What keeps the element from starting.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// What the element does.
pub trait Analyze: BaseTransformImpl + ObjectSubclass<Type: IsA<gst_base::BaseTransform>> {
    type Settings: Properties;
    type Worker: Worker<Settings = Self::Settings>;
    /// What the stream made, beside what all of them keep.
    type Memory: Default + Send + 'static;
    /// What the element finds.
    type Result: Kind;

    fn category() -> gst::DebugCategory;
    fn own(&self) -> &Own<Self>;
    /// The stream starts anew: what was before has nothing to do with what comes.
    fn forget(worker: &mut Self::Worker, memory: &mut Self::Memory);
    /// Another model, or frames of another kind, come after [`Analyze::forget`].
    fn begin(_memory: &mut Self::Memory) {}
    /// Looks at the frame, if it is its turn, and attaches what is found; returns what is new.
    fn work(
        &self,
        state: &mut State<Self>,
        settings: &Self::Settings,
        times: Times,
        buffer: &mut gst::BufferRef,
    ) -> Result<Option<Told<Self::Result>>, gst::ErrorMessage>;
    /// Shows it by properties and their signals. No lock is held meanwhile.
    fn show(&self, result: &Self::Result);
    /// The value of a read-only property.
    fn shown(&self, name: &str) -> Option<glib::Value>;
    /// Before the first frame, read-only properties show nothing.
    fn show_nothing(&self);
}

/// A result that is new.
pub struct Told<R> {
    pub result: R,
    /// Whether it differs from the one before in what a message tells as a change.
    pub changed: bool,
    /// Whether it goes on the bus.
    pub due: bool,
}

/// An element's parts.
pub struct Own<A: Analyze> {
    settings: Mutex<A::Settings>,
    state: Slot<State<A>>,
    reload: Reload<A::Worker>,
    pub live: Live,
}

/// What the stream made.
pub struct State<A: Analyze> {
    pub worker: Held<A::Worker>,
    pub info: Option<VideoInfo>,
    pub poster: Poster,
    pub memory: A::Memory,
    pacer: Pacer,
}

impl<A: Analyze> Default for Own<A> {
    fn default() -> Self {
        Self {
            settings: Mutex::default(),
            state: Slot::default(),
            reload: Reload::default(),
            live: Live::default(),
        }
    }
}

impl<A: Analyze> State<A> {
    fn reset(&mut self) {
        self.pacer = Pacer::default();
        A::forget(&mut self.worker, &mut self.memory);
    }

    fn begin(&mut self) {
        self.reset();
        A::begin(&mut self.memory);
    }

    /// What the frames are; an error before there are caps.
    pub fn info(&self) -> Result<VideoInfo, gst::ErrorMessage> {
        let info = self.info.clone();
        info.ok_or_else(|| gst::error_msg!(gst::CoreError::Negotiation, ("No caps yet")))
    }

    /// Has the model look at the frame, and records how long that took; `white` as in [`frame::colorimetry`].
    pub fn infer<T>(
        &mut self,
        element: &A,
        buffer: &gst::BufferRef,
        white: u16,
        look: impl FnOnce(&mut A::Worker, &Frame<'_>) -> gst_candle::Result<T>,
    ) -> Result<T, gst::ErrorMessage> {
        let info = self.info()?;
        let begin = Instant::now();
        let found = engine::run(|| frame::view(buffer, &info, white, |frame| look(&mut self.worker, frame)))?;
        element.own().live.record(begin.elapsed());
        Ok(found)
    }

    /// What to do with the frame; counts it. `is_result` says whether there is an earlier one to show instead.
    pub fn pace(
        &mut self,
        element: &A,
        settings: &settings::Settings,
        times: Times,
        buffer: &gst::BufferRef,
        is_result: bool,
    ) -> Pace {
        let live = &element.own().live;
        let obj = element.obj();
        let pace = self
            .pacer
            .decide(obj.upcast_ref(), live, settings, buffer, times.running);
        live.count(pace, is_result, times.running);
        pace
    }
}

/// Sets a property of the element.
pub fn set_property<A: Analyze>(element: &A, value: &glib::Value, pspec: &glib::ParamSpec) {
    let (obj, own) = (element.obj(), element.own());
    let transform: &gst_base::BaseTransform = obj.upcast_ref();
    warn_if_late(A::category(), transform, pspec);
    if own.live.set(pspec.name(), value) || own.reload.intercepts(transform, pspec.name(), value) {
        return;
    }
    let set = {
        let mut settings = lock(&own.settings);
        match settings.common_mut().set(pspec.name(), value) {
            true => Ok(()),
            false => settings.set(pspec.name(), value),
        }
    };
    // Before the start there may be nobody to hear it; the start fails with the same words.
    if let Err(reason) = set
        && transform.current_state() > gst::State::Ready
    {
        gst::element_warning!(
            transform,
            gst::ResourceError::Settings,
            ("{reason}; what was set before stays in force")
        );
    }
}

/// The value of a property of the element.
pub fn property<A: Analyze>(element: &A, name: &str) -> glib::Value {
    let own = element.own();
    let set = || {
        let settings = lock(&own.settings);
        settings.common().get(name).or_else(|| settings.get(name))
    };
    element
        .shown(name)
        .or_else(|| own.live.get(name))
        .or_else(set)
        .expect("every property listed has a value")
}

/// Loads the model.
pub fn start<A: Analyze>(element: &A) -> Result<(), gst::ErrorMessage> {
    let own = element.own();
    let settings = lock(&own.settings).clone();
    if let Err(reason) = settings.check() {
        return Err(gst::error_msg!(gst::ResourceError::Settings, ("{reason}")));
    }
    let obj = element.obj();
    let mut worker = own.reload.start(obj.upcast_ref(), settings.common())?;
    if let Err(error) = worker.prepare(&settings) {
        own.reload.stop();
        return Err(error.into());
    }
    own.live.start();
    element.show_nothing();
    own.state.set(Some(State {
        worker,
        info: None,
        poster: Poster::default(),
        memory: A::Memory::default(),
        pacer: Pacer::default(),
    }));
    Ok(())
}

/// Gives back what [`start`] took.
pub fn stop<A: Analyze>(element: &A) -> Result<(), gst::ErrorMessage> {
    let own = element.own();
    own.state.set(None);
    if let Some(asked) = own.reload.stop() {
        lock(&own.settings).common_mut().model_file = Some(asked);
    }
    Ok(())
}

/// Frames of another kind come.
pub fn set_caps<A: Analyze>(element: &A, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
    let info = VideoInfo::from_caps(caps)?;
    let own = element.own();
    own.state.change(|state| {
        state.begin();
        state.info = Some(info);
    });
    own.live.work_changes();
    Ok(())
}

/// An event comes with the stream.
pub fn sink_event<A: Analyze>(element: &A, event: &gst::Event) {
    let own = element.own();
    if starts_anew(event) {
        own.state.change(State::reset);
        own.live.flush();
    }
}

/// A frame comes.
pub fn transform_ip<A: Analyze>(element: &A, buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
    let (obj, own) = (element.obj(), element.own());
    let transform: &gst_base::BaseTransform = obj.upcast_ref();
    let settings = lock(&own.settings).clone();
    let times = Times::of(transform, buffer);
    own.live
        .frame(transform.upcast_ref(), A::category(), times.running, || {
            let told = own
                .state
                .work(|state| {
                    renew(element, state, &settings, buffer);
                    element.work(state, &settings, times, buffer)
                })?
                .map_err(|error| failed(transform, error))?;
            if let Some(Told { result, changed, due }) = told {
                element.show(&result);
                if due {
                    let mut fields = result.to_structure();
                    fields.set("state-changed", changed);
                    messages::post(&*obj, &format!("candle{}", A::Result::NAME), times, &fields);
                }
            }
            Ok(gst::FlowSuccess::Ok)
        })
}

/// Goes over to a model that was loaded meanwhile.
fn renew<A: Analyze>(element: &A, state: &mut State<A>, settings: &A::Settings, frame: &gst::BufferRef) {
    let Some(info) = state.info.clone() else { return };
    let (obj, own) = (element.obj(), element.own());
    own.reload
        .renew(obj.upcast_ref(), frame, &info, settings, |worker, file| {
            let before = std::mem::replace(&mut state.worker, worker);
            state.begin();
            lock(&own.settings).common_mut().model_file = Some(file);
            own.live.work_changes();
            before
        });
}

/// Makes an element's classes: `$imp` implements [`Analyze`], `$wrapper` is its public type, `$name` that of GLib, and `$metadata` its long name,
/// class and description.
macro_rules! analyzer {
    ($imp:ident, $wrapper:ty, $name:literal, [$long_name:literal, $class:literal, $description:literal]) => {
        #[glib::object_subclass]
        impl ObjectSubclass for $imp {
            const NAME: &'static str = $name;
            type Type = $wrapper;
            type ParentType = gst_base::BaseTransform;
            type Interfaces = (gst::Preset,);

            fn class_init(class: &mut Self::Class) {
                $crate::common::preset::choose_properties::<Self>(class);
            }
        }

        impl ObjectImpl for $imp {
            fn properties() -> &'static [glib::ParamSpec] {
                static PROPERTIES: std::sync::LazyLock<Vec<glib::ParamSpec>> =
                    std::sync::LazyLock::new(<<$imp as Analyze>::Settings as analyzer::Properties>::properties);
                &PROPERTIES
            }

            fn constructed(&self) {
                self.parent_constructed();
                self.obj().set_gap_aware(true);
            }

            fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
                analyzer::set_property(self, value, pspec);
            }

            fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
                analyzer::property(self, pspec.name())
            }
        }

        impl GstObjectImpl for $imp {}

        impl PresetImpl for $imp {}

        impl ElementImpl for $imp {
            fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
                static METADATA: std::sync::LazyLock<gst::subclass::ElementMetadata> = std::sync::LazyLock::new(|| {
                    gst::subclass::ElementMetadata::new($long_name, $class, $description, "The gst-candle authors")
                });
                Some(&METADATA)
            }

            fn pad_templates() -> &'static [gst::PadTemplate] {
                $crate::common::frame::pad_templates()
            }
        }

        impl BaseTransformImpl for $imp {
            const MODE: gst_base::subclass::BaseTransformMode = gst_base::subclass::BaseTransformMode::AlwaysInPlace;
            const PASSTHROUGH_ON_SAME_CAPS: bool = false;
            const TRANSFORM_IP_ON_PASSTHROUGH: bool = false;

            fn start(&self) -> Result<(), gst::ErrorMessage> {
                analyzer::start(self)
            }

            fn stop(&self) -> Result<(), gst::ErrorMessage> {
                analyzer::stop(self)
            }

            fn accept_caps(&self, direction: gst::PadDirection, caps: &gst::Caps) -> bool {
                self.parent_accept_caps(direction, &$crate::common::frame::progressive_by_default(caps))
            }

            fn set_caps(&self, incaps: &gst::Caps, _outcaps: &gst::Caps) -> Result<(), gst::LoggableError> {
                analyzer::set_caps(self, incaps)
            }

            fn sink_event(&self, event: gst::Event) -> bool {
                analyzer::sink_event(self, &event);
                self.parent_sink_event(event)
            }

            fn src_event(&self, event: gst::Event) -> bool {
                let obj = self.obj();
                let parent = |event| self.parent_src_event(event);
                self.own().live.src_event(obj.upcast_ref(), event, parent)
            }

            fn query(&self, direction: gst::PadDirection, query: &mut gst::QueryRef) -> bool {
                self.own().live.query(direction, query, |query| {
                    BaseTransformImplExt::parent_query(self, direction, query)
                })
            }

            fn transform_ip(&self, buffer: &mut gst::BufferRef) -> Result<gst::FlowSuccess, gst::FlowError> {
                analyzer::transform_ip(self, buffer)
            }
        }
    };
}
pub(crate) use analyzer;
