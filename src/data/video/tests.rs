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

#[test]
fn a_file_that_breaks_off_ends() {
    let dir = tempdir().unwrap();
    for name in ["a.avi", "b.mp4"] {
        let path = dir.path().join(name);
        let mut writer = VideoWriter::create(&path, 160, 120, (25, 1)).unwrap();
        (0..30).for_each(|number| writer.write(&frame(3, 160, 120, number % 10)).unwrap());
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        match VideoReader::open(path.to_str().unwrap()) {
            Ok(reader) => {
                let frames: Vec<_> = reader.collect();
                let good = frames.iter().filter(|frame| frame.is_ok()).count();
                assert!(
                    good < 30 && frames.len() <= good + 1,
                    "{name}: {good} of {}",
                    frames.len()
                );
                assert!(frames[..good].iter().all(|frame| frame.is_ok()), "the error comes last");
            }
            Err(error) => assert!(error.to_string().contains(name)),
        }
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
    assert!(error(&dir.path().join("a.gif"), 32, (25, 1)).contains(".mp4 or .avi"));
    assert!(error(&path, 0, (25, 1)).contains("0x32") && error(&path, 32, (0, 1)).contains("0/1"));
    assert!(error(&dir.path().join("none/a.mp4"), 32, (25, 1)).contains("none/a.mp4"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
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
