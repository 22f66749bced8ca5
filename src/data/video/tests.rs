use super::*;
use tempfile::tempdir;

/// A grey or coloured slope that gets lighter from frame to frame.
fn frame(channels: usize, width: usize, height: usize, number: usize) -> Image {
    let mut image = Image::filled(channels, height, width, 0.0);
    for (i, v) in image.data.iter_mut().enumerate() {
        *v = 0.2 + 0.4 * (i % width) as f32 / width as f32 + 0.03 * number as f32;
    }
    image
}

/// Runs a pipeline to its end.
fn launch(line: &str) {
    gst::init().unwrap();
    let pipeline = gst::parse::launch(line).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    finish(&pipeline);
}

/// Waits for a pipeline's end.
fn finish(pipeline: &impl IsA<gst::Element>) {
    let types = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline
        .bus()
        .unwrap()
        .timed_pop_filtered(gst::ClockTime::from_seconds(20), &types)
        .expect("ends");
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
}

fn read(path: &Path) -> Vec<Result<VideoFrame>> {
    VideoReader::open(path.to_str().unwrap()).unwrap().collect()
}

fn open_error(location: &str) -> String {
    VideoReader::open(location).err().expect("does not open").to_string()
}

#[test]
fn what_is_written_is_read() {
    let dir = tempdir().unwrap();
    for (name, channels, width, height) in [("a.mp4", 3, 64, 48), ("b.avi", 1, 63, 49), ("c.mp4", 1, 65, 47)] {
        let path = dir.path().join(name);
        let mut writer = VideoWriter::create(&path, width, height, (25, 1)).unwrap();
        for number in 0..10 {
            writer.write(&frame(channels, width, height, number)).unwrap();
        }
        assert!(!path.exists(), "not before it is finished");
        writer.finish().unwrap();
        let frames = read(&path);
        assert_eq!(frames.len(), 10, "{name}");
        for (number, got) in frames.into_iter().enumerate() {
            let got = got.unwrap();
            assert_eq!(got.time_ns, Some(number as u64 * 40_000_000), "{name}");
            assert_eq!(
                got.image.width,
                if name == "b.avi" { 63 } else { width.next_multiple_of(2) }
            );
            let wanted = frame(1, width, height, number);
            let mut error = 0.0f32;
            for y in 0..height {
                for x in 0..width {
                    error += (got.image.data[y * got.image.width + x] - wanted.data[y * width + x]).abs();
                }
            }
            assert!(error / ((width * height) as f32) < 0.015, "{name} {number} {error}");
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
}

#[test]
fn grey_stays_grey_and_sound_is_left_aside() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("with sound & grey.avi");
    launch(&format!(
        "avimux name=mux ! filesink location=\"{}\" \
         videotestsrc num-buffers=7 ! video/x-raw,format=GRAY8,width=30,height=22,framerate=10/1 ! mux. \
         audiotestsrc num-buffers=30 ! mux.",
        path.display()
    ));
    let frames = read(&path);
    assert_eq!(frames.len(), 7);
    let image = &frames[0].as_ref().unwrap().image;
    assert_eq!((image.channels, image.width, image.height), (1, 30, 22));
    let uri = gst::glib::filename_to_uri(&path, None).unwrap();
    assert_eq!(VideoReader::open(&uri).unwrap().count(), 7);
}

#[test]
fn what_cannot_be_played_is_said() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    assert!(open_error(&at("none.mp4")).contains("none.mp4: No such file"));
    assert!(open_error(&at("")).contains("not a file"));
    assert!(open_error("file:///no/such/file.mp4").contains("cannot be played"));
    assert!(open_error("nonsense://x").contains("cannot be played"));
    std::fs::write(at("text.mp4"), "this is no video, only some words\n".repeat(100)).unwrap();
    assert!(open_error(&at("text.mp4")).contains("text.mp4: cannot be played"));
    std::fs::write(at("empty.avi"), "").unwrap();
    assert!(open_error(&at("empty.avi")).contains("empty.avi: cannot be played"));
    launch(&format!(
        "audiotestsrc num-buffers=10 ! wavenc ! filesink location={}",
        at("sound.wav")
    ));
    assert!(open_error(&at("sound.wav")).contains("cannot be played"));
    launch(&format!(
        "audiotestsrc num-buffers=200 ! audio/x-raw,format=S16LE ! qtmux ! filesink location={}",
        at("sound.mov")
    ));
    assert!(open_error(&at("sound.mov")).contains("cannot be played"));
}

#[test]
fn a_missing_decoder_is_named() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("odd.avi");
    let mut writer = VideoWriter::create(&path, 32, 32, (25, 1)).unwrap();
    (0..3).for_each(|number| writer.write(&frame(3, 32, 32, number)).unwrap());
    writer.finish().unwrap();
    // The codec's name in the stream header becomes one that nobody knows.
    let mut bytes = std::fs::read(&path).unwrap();
    let places: Vec<usize> = bytes
        .windows(4)
        .enumerate()
        .filter(|(_, w)| *w == b"MJPG")
        .map(|(i, _)| i)
        .collect();
    assert!(!places.is_empty());
    places
        .into_iter()
        .for_each(|i| bytes[i..i + 4].copy_from_slice(b"QQZZ"));
    std::fs::write(&path, bytes).unwrap();
    let message = open_error(path.to_str().unwrap());
    assert!(message.contains("odd.avi") && message.contains("has no"), "{message}");
}

/// Runs a pipeline that muxes 100 frames in 4 s, with `sound` beside them that goes on for 7 s.
fn launch_clip(path: &Path, mux: &str, sound: bool) {
    let sound = if sound {
        "audiotestsrc num-buffers=70 samplesperbuffer=800 ! audio/x-raw,format=S16LE,rate=8000,channels=1 ! queue ! mux."
    } else {
        ""
    };
    launch(&format!(
        "{mux} name=mux ! filesink location={} videotestsrc pattern=ball num-buffers=100 ! \
         video/x-raw,width=64,height=48,framerate=25/1 ! jpegenc ! queue ! mux. {sound}",
        path.display()
    ));
}

/// Files and what muxes them.
const MUXERS: [(&str, &str); 4] = [
    ("a.avi", "avimux"),
    ("a.mkv", "matroskamux"),
    ("a.mov", "qtmux"),
    ("fast.mov", "qtmux faststart=true"),
];

#[test]
fn a_file_that_was_cut_is_not_opened() {
    let dir = tempdir().unwrap();
    for (name, mux) in MUXERS {
        for sound in [false, true] {
            let path = dir.path().join(name);
            launch_clip(&path, mux, sound);
            let bytes = std::fs::read(&path).unwrap();
            std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
            let message = open_error(path.to_str().unwrap());
            // Of how many, depends: what stands behind the frames of a MOV is not counted.
            let there = format!("breaks off: {} of ", bytes.len() / 2);
            assert!(message.contains(name) && message.contains(&there), "{message}");
        }
    }
}

#[test]
fn a_file_that_was_filled_up_with_zeros_ends_in_an_error() {
    let dir = tempdir().unwrap();
    for (name, mux) in [("a.mkv", "matroskamux"), ("fast.mov", "qtmux faststart=true")] {
        let path = dir.path().join(name);
        launch_clip(&path, mux, false);
        let mut bytes = std::fs::read(&path).unwrap();
        let half = bytes.len() / 2;
        bytes[half..].fill(0);
        std::fs::write(&path, bytes).unwrap();
        let message = read(&path).pop().unwrap().expect_err("the end is missing").to_string();
        assert!(
            message.contains("breaks off after ") && message.contains(" of 4.0 s"),
            "{message}"
        );
    }
}

#[test]
fn a_whole_file_ends_without_an_error() {
    let dir = tempdir().unwrap();
    let others = [
        ("fragments.mov", "qtmux fragment-duration=500"),
        ("live.mkv", "matroskamux streamable=true"),
    ];
    for (name, mux) in MUXERS.into_iter().chain(others) {
        for sound in [false, true] {
            let path = dir.path().join(name);
            launch_clip(&path, mux, sound);
            let frames = read(&path);
            assert!(frames.iter().all(Result::is_ok), "{name}: {:?}", frames.last());
            assert!((98..=100).contains(&frames.len()), "{name}: {} frames", frames.len());
        }
    }
}

#[test]
fn frames_at_uneven_times_are_no_break() {
    let dir = tempdir().unwrap();
    // AVI has no times.
    for (name, mux) in &MUXERS[1..] {
        let path = dir.path().join(name);
        gst::init().unwrap();
        let line = format!(
            "appsrc name=source format=time caps=video/x-raw,format=I420,width=64,height=48,framerate=0/1 ! \
             jpegenc ! {mux} ! filesink location={}",
            path.display()
        );
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = pipeline
            .by_name("source")
            .unwrap()
            .downcast::<gst_app::AppSrc>()
            .unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let times = [0, 40, 80, 2080, 2120, 7120, 9000, 13_000].map(gst::ClockTime::from_mseconds);
        for (from, to) in times.iter().zip(&times[1..]) {
            let mut buffer = gst::Buffer::from_slice([128; 64 * 48 * 3 / 2]);
            let meta = buffer.get_mut().unwrap();
            meta.set_pts(*from);
            meta.set_duration(*to - *from);
            source.push_buffer(buffer).unwrap();
        }
        source.end_of_stream().unwrap();
        finish(&pipeline);
        let frames = read(&path);
        assert!(
            frames.len() >= 6 && frames.iter().all(Result::is_ok),
            "{name}: {frames:?}"
        );
    }
}

#[test]
fn an_unfinished_or_impossible_video_leaves_no_file() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("a.mp4");
    let mut writer = VideoWriter::create(&path, 32, 32, (25, 1)).unwrap();
    writer.write(&frame(3, 32, 32, 0)).unwrap();
    assert!(
        writer
            .write(&frame(3, 31, 32, 0))
            .unwrap_err()
            .to_string()
            .contains("31x32")
    );
    drop(writer);
    assert!(
        VideoWriter::create(&path, 32, 32, (25, 1))
            .unwrap()
            .finish()
            .unwrap_err()
            .to_string()
            .contains("no frames")
    );
    let error = |path: &Path, width, fps| {
        VideoWriter::create(path, width, 32, fps)
            .err()
            .expect("fails")
            .to_string()
    };
    assert!(error(&dir.path().join("a.mkv"), 32, (25, 1)).contains("mp4, m4v, mov, avi"));
    assert!(error(&path, 0, (25, 1)).contains("0x32") && error(&path, 32, (0, 1)).contains("0/1"));
    assert!(error(&dir.path().join("none/a.mp4"), 32, (25, 1)).contains("none/a.mp4"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[cfg(feature = "train")]
#[test]
fn what_can_be_written_counts_as_video() {
    for extension in EXTENSIONS {
        assert!(
            crate::data::layout::is_video(Path::new("a").with_extension(extension).as_path()),
            "{extension}"
        );
    }
}

#[test]
fn a_reader_can_be_left_early() {
    let mut reader = VideoReader::open("testbin://video,pattern=ball").unwrap();
    assert!(reader.next().unwrap().is_ok());
    drop(reader);
}

#[test]
fn real_clips_play() {
    let root = std::env::var("GST_CANDLE_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data").into());
    let clip = format!("{root}/video/ucsd_ped1/clip01.avi");
    if !Path::new(&clip).is_file() {
        println!("skipped: no {clip}; set GST_CANDLE_DATA");
        return;
    }
    let frames: Vec<VideoFrame> = VideoReader::open(&clip).unwrap().map(|frame| frame.unwrap()).collect();
    assert_eq!(frames.len(), 200);
    assert_eq!((frames[0].image.width, frames[0].image.height), (238, 158));
}
