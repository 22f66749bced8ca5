//! Whatever a stream may do, in every element: events and flags in any order, properties that change all the time, seeks at any moment.

mod support;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gst::glib;
use gst::prelude::*;
use gst_check::Harness;
use support::every::Every;
use support::line::Line;
use support::*;

/// Numbers that look random and are the same for the same seed.
struct Random(u64);

impl Random {
    /// A seed of its own each time, which is printed.
    fn new() -> Self {
        let seed = std::env::var("CANDLE_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = seed.unwrap_or_else(now) | 1;
        println!("CANDLE_TEST_SEED={seed}");
        Self(seed)
    }

    /// Below `count`.
    fn below(&mut self, count: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % count
    }

    /// In 0..=1, each end now and then.
    fn unit(&mut self) -> f64 {
        match self.below(8) {
            0 => 0.0,
            1 => 1.0,
            _ => self.below(1000) as f64 / 999.0,
        }
    }

    /// A valid value of a property.
    fn value(&mut self, spec: &glib::ParamSpec) -> Option<glib::Value> {
        let between = |low: f64, high: f64, at: f64| low + (high - low) * at;
        if let Some(spec) = spec.downcast_ref::<glib::ParamSpecUInt>() {
            // Mostly small numbers, where most happens, and the ends.
            let most = u64::from(spec.maximum() - spec.minimum());
            let above = if self.below(4) == 0 {
                (self.unit() * most as f64) as u64
            } else {
                self.below(most.min(5) + 1)
            };
            return Some((spec.minimum() + above as u32).to_value());
        }
        if let Some(spec) = spec.downcast_ref::<glib::ParamSpecUInt64>() {
            let nanoseconds = [0, 1, 100_000_000, 1_000_000_000, u64::MAX - 1, u64::MAX];
            let value = nanoseconds[self.below(6) as usize];
            return Some(value.clamp(spec.minimum(), spec.maximum()).to_value());
        }
        if let Some(spec) = spec.downcast_ref::<glib::ParamSpecFloat>() {
            let (low, high) = (f64::from(spec.minimum()).max(-1e6), f64::from(spec.maximum()).min(1e6));
            return Some((between(low, high, self.unit()) as f32).to_value());
        }
        if let Some(spec) = spec.downcast_ref::<glib::ParamSpecDouble>() {
            let (low, high) = (spec.minimum().max(-1e6), spec.maximum().min(1e6));
            return Some(between(low, high, self.unit()).to_value());
        }
        if spec.is::<glib::ParamSpecBoolean>() {
            return Some((self.below(2) == 0).to_value());
        }
        if spec.is::<glib::ParamSpecEnum>() {
            let class = glib::EnumClass::with_type(spec.value_type())?;
            let values = class.values();
            return class.to_value(values[self.below(values.len() as u64) as usize].value());
        }
        None
    }
}

/// The properties of its own that an element lets change while it plays, but the model.
fn changeable(element: &gst::Element) -> Vec<glib::ParamSpec> {
    let all = element.list_properties();
    let own = all.iter().filter(|spec| spec.owner_type() == element.type_());
    let changeable = own.filter(|spec| {
        let flags = spec.flags();
        flags.contains(glib::ParamFlags::WRITABLE) && flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING)
    });
    changeable
        .filter(|spec| spec.name() != "watch-model")
        .cloned()
        .collect()
}

/// Sets one of the element's properties to a value that it may have, and reads all.
fn disturb(element: &gst::Element, random: &mut Random) {
    let specs = changeable(element);
    if !specs.is_empty() {
        let spec = &specs[random.below(specs.len() as u64) as usize];
        if let Some(value) = random.value(spec) {
            element.set_property_from_value(spec.name(), &value);
        }
    }
    for spec in element
        .list_properties()
        .iter()
        .filter(|spec| spec.owner_type() == element.type_())
    {
        element.property_value(spec.name());
    }
}

fn parts(harness: &Harness) -> Vec<gst::Element> {
    let element = harness.element().unwrap();
    match element.downcast_ref::<gst::Bin>() {
        Some(bin) => bin.iterate_elements().into_iter().flatten().collect(),
        None => vec![element],
    }
}

fn caps(random: &mut Random) -> String {
    let format = FORMATS[random.below(FORMATS.len() as u64) as usize];
    let [width, height] = [(); 2].map(|()| 1 + random.below(40));
    let rest = [
        "",
        ",pixel-aspect-ratio=4/3",
        ",colorimetry=bt709",
        ",multiview-mode=mono",
    ];
    format!(
        "format={format},width={width},height={height}{}",
        rest[random.below(4) as usize]
    )
}

/// A segment that begins anywhere, forwards or backwards.
fn segment(random: &mut Random) -> gst::Event {
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(gst::ClockTime::from_mseconds(random.below(5000)));
    segment.set_stop(gst::ClockTime::from_seconds(3600));
    segment.set_rate([1.0, 2.0, 0.5, -1.0][random.below(4) as usize]);
    segment.set_base(gst::ClockTime::from_mseconds(random.below(5000)));
    gst::event::Segment::new(&segment)
}

/// A stream through elements in which anything may come next.
struct Walk<'a> {
    line: &'a str,
    harness: Harness,
    bus: gst::Bus,
    parts: Vec<gst::Element>,
    caps: String,
    /// The last steps, the last one first, for whoever looks for what went wrong.
    done: VecDeque<String>,
}

impl<'a> Walk<'a> {
    fn new(line: &'a str, random: &mut Random) -> Self {
        let mut harness = Harness::new_parse(line);
        let (bus, caps) = (gst::Bus::new(), caps(random));
        harness.element().unwrap().set_bus(Some(&bus));
        harness.set_src_caps(caps_of(&caps));
        let parts = parts(&harness);
        Self {
            line,
            harness,
            bus,
            parts,
            caps,
            done: VecDeque::new(),
        }
    }

    fn step(&mut self, random: &mut Random, index: u64) {
        let step = random.below(12);
        self.done.push_front(format!("{step} {}", self.caps));
        self.done.truncate(12);
        match step {
            0 => {
                self.caps = caps(random);
                self.harness.set_src_caps(caps_of(&self.caps));
            }
            1 => self.flush(random),
            2 => assert!(self.harness.push_event(segment(random))),
            3 => {
                let time = gst::ClockTime::from_mseconds;
                let gap = gst::event::Gap::builder(time(100 * index)).duration(time(100));
                assert!(self.harness.push_event(gap.build()));
            }
            4 => self.parts.iter().for_each(|part| disturb(part, random)),
            _ => self.frame(step, random, index),
        }
    }

    fn flush(&mut self, random: &mut Random) {
        let events = [
            gst::event::FlushStart::new(),
            gst::event::FlushStop::new(random.below(2) == 0),
            segment(random),
        ];
        for event in events {
            assert!(self.harness.push_event(event), "{}", self.line);
        }
    }

    /// A frame, which must come out with its time and flags.
    fn frame(&mut self, step: u64, random: &mut Random, index: u64) {
        let info = info_of(&self.caps);
        let mut frame = busy(&info, index);
        match step {
            5 => frame = flagged(frame, gst::BufferFlags::GAP),
            6 => frame = flagged(frame, gst::BufferFlags::DISCONT | gst::BufferFlags::CORRUPTED),
            7 => frame.get_mut().unwrap().set_pts(None),
            8 => frame = padded(&frame, &info),
            9 => {
                let pts = [0, 1, u64::MAX - 1][random.below(3) as usize];
                frame.get_mut().unwrap().set_pts(gst::ClockTime::from_nseconds(pts));
            }
            _ => {}
        }
        let (pts, flags) = (
            frame.pts(),
            frame.flags() & (gst::BufferFlags::GAP | gst::BufferFlags::DISCONT),
        );
        let what = format!("{} after {:?}", self.line, self.done);
        let output = self.harness.push_and_pull(frame);
        let output = output.unwrap_or_else(|error| {
            panic!(
                "{what}: {error}: {:?}",
                self.bus.pop_filtered(&[gst::MessageType::Error])
            )
        });
        assert_eq!(output.pts(), pts, "{what}");
        assert!(output.flags().contains(flags), "{what}");
    }

    /// Ends the stream, and begins it again.
    fn end(mut self, random: &mut Random) {
        assert!(
            self.bus.pop_filtered(&[gst::MessageType::Error]).is_none(),
            "{}",
            self.line
        );
        assert!(self.harness.push_event(gst::event::Eos::new()));
        let after = self.harness.push(busy(&info_of(&self.caps), 0));
        assert_eq!(after, Err(gst::FlowError::Eos), "{}", self.line);
        self.flush(random);
        self.frame(u64::MAX, random, 0);
    }
}

#[test]
fn a_walk_through_all_that_may_come_loses_no_frame() {
    let every = Every::new();
    let lines = [
        &every.denoise,
        &every.anomaly,
        &every.classify,
        &every.segment,
        &every.embed,
        &format!("{} threshold=0 ! candleoverlay", every.anomaly),
        &format!("{} output=overlay ! candleoverlay", every.segment),
        &every.publish,
        &every.all(),
    ];
    let mut random = Random::new();
    for line in lines {
        let mut walk = Walk::new(line, &mut random);
        (0..400).for_each(|index| walk.step(&mut random, index));
        walk.end(&mut random);
    }
}

#[test]
fn a_stream_without_frames_ends_and_one_without_caps_is_an_error() {
    let every = Every::new();
    let elements = [
        &every.denoise,
        &every.anomaly,
        &every.classify,
        &every.segment,
        &every.embed,
        &every.overlay,
        &every.publish,
        &every.all(),
    ];
    for element in elements {
        for source in ["videotestsrc num-buffers=0", "candletestsrc num-buffers=0"] {
            play(&format!("{source} ! {element} ! fakesink")).unwrap();
        }
        let error = play(&format!(
            "fakesrc num-buffers=1 filltype=zero sizetype=fixed ! {element} ! fakesink"
        ));
        // There is nothing to draw, and what publishes asks for no caps.
        let passes = [&every.overlay, &every.publish].contains(&element);
        assert_eq!(error.is_ok(), passes, "{element}: {error:?}");
    }
}

/// A frame with a region to draw, whose meta says that it has this format and size and its planes these offsets and strides.
fn told_of(info: &gst_video::VideoInfo, caps: &str, planes: &[(usize, i32)]) -> gst::Buffer {
    let mut buffer = busy(info, 0);
    let (frame, told) = (buffer.get_mut().unwrap(), info_of(caps));
    let (offsets, strides): (Vec<_>, Vec<_>) = planes.iter().copied().unzip();
    let (flags, format) = (gst_video::VideoFrameFlags::empty(), told.format());
    gst_video::VideoMeta::add_full(frame, flags, format, told.width(), told.height(), &offsets, &strides).unwrap();
    gst_video::VideoRegionOfInterestMeta::add(frame, "thing", (1, 1, 9, 9));
    buffer
}

#[test]
fn a_frame_that_would_lie_outside_of_its_memory_is_an_error_and_the_next_goes_on() {
    let every = Every::new();
    let caps = "format=I420,width=64,height=48";
    let info = info_of(caps);
    let [y, u, v] = [0, 1, 2].map(|plane| (info.offset()[plane], info.stride()[plane]));
    let lies = [
        (caps, vec![y, u, (v.0, 1 << 20)]),
        (caps, vec![(0, 1 << 24), u, v]),
        (caps, vec![y, (usize::MAX, u.1), v]),
        (caps, vec![(1, y.1), (info.size() - 9, u.1), v]),
        (caps, vec![(0, -64), u, v]),
        (caps, vec![y, (u.0, 3), v]),
        ("format=I420,width=640,height=480", vec![(0, 640), (1, 320), (2, 320)]),
    ];
    let passing = format!("{} strength=0", every.denoise);
    let painting = format!("{} output=heatmap", every.anomaly);
    let masking = format!("{} output=mask", every.segment);
    for line in [
        &every.denoise,
        &passing,
        &every.anomaly,
        &painting,
        &every.classify,
        &every.segment,
        &every.embed,
        &masking,
        &every.overlay,
    ] {
        for (told, planes) in &lies {
            let mut harness = Harness::new_parse(line);
            harness.set_src_caps(caps_of(caps));
            let taken = harness.push(told_of(&info, told, planes));
            // GStreamer warns of a frame that it cannot map for a filter, and lets it pass.
            let may_pass = line == &every.overlay;
            assert!(
                may_pass || taken == Err(gst::FlowError::Error),
                "{line}: {told} {planes:?}: {taken:?}"
            );
            let next = harness.push(busy(&info, 1));
            assert!(next.is_ok(), "{line}: after {told} {planes:?}: {next:?}");
        }
    }
}

#[test]
fn seeks_at_any_moment_land_where_they_should_while_properties_change() {
    let every = Every::new();
    let mut random = Random::new();
    let line = Line::new(&format!(
        "candletestsrc num-buffers=3000 ! video/x-raw,format=RGB,width=48,height=32,framerate=10/1 ! {}",
        every.all()
    ));
    let elements: Vec<_> = line.pipeline.iterate_elements().into_iter().flatten().collect();
    let candle = |element: &&gst::Element| element.type_().name().starts_with("GstCandle");
    let candle: Vec<_> = elements
        .iter()
        .filter(candle)
        .filter(|e| !changeable(e).is_empty())
        .collect();
    assert_eq!(candle.len(), 8, "{candle:?}");
    line.pipeline.set_state(gst::State::Playing).unwrap();
    line.pull().unwrap();
    let ended = AtomicBool::new(false);
    let mut other = Random(random.0 ^ 0x5555);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                for element in &candle {
                    disturb(element, &mut other);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for _ in 0..60 {
            let target = gst::ClockTime::from_mseconds(100 * random.below(2900));
            let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
            line.pipeline.seek_simple(flags, target).unwrap();
            for index in 0..1 + random.below(3) {
                let sample = line.pull().unwrap();
                let expected = target + index * gst::ClockTime::from_mseconds(100);
                assert_eq!(sample.buffer().unwrap().pts(), Some(expected));
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    let [begin, end] = [298, 299].map(gst::ClockTime::from_seconds);
    let (set, flags) = (gst::SeekType::Set, gst::SeekFlags::FLUSH);
    line.pipeline.seek(1.0, flags, set, begin, set, end).unwrap();
    assert_eq!(line.rest().len(), 10);
}
