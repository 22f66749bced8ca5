//! Videos in and out of the program.

use std::process::Stdio;
use std::time::{Duration, Instant};

use gst_candle::data::noise::add_gaussian;
use gst_candle::data::random::stream;
use gst_candle::data::video::{EXTENSIONS, VideoReader, VideoWriter};
use gst_candle::pixels::Image;

use super::errors::{assert_fails, assert_full_disk_leaves_nothing};
use super::{Folder, figures, gst_candle, interrupt, part, run, succeed};

/// A clip of noisy parts at 25 frames a second; returns its path.
fn clip(folder: &Folder, name: &str, frames: u64) -> String {
    let mut writer = VideoWriter::create(&folder.path(name), 48, 40, (25, 1)).unwrap();
    for number in 0..frames {
        let mut frame = part(number, 48, 40, false);
        add_gaussian(&mut frame, 0.1, &mut stream(3, number, 0));
        writer.write(&frame).unwrap();
    }
    writer.finish().unwrap();
    folder.text(name)
}

/// Cuts a file in half.
fn cut(folder: &Folder, name: &str) {
    let bytes = std::fs::read(folder.path(name)).unwrap();
    std::fs::write(folder.path(name), &bytes[..bytes.len() / 2]).unwrap();
}

/// A denoiser that has hardly learned; returns its path.
fn denoiser(folder: &Folder, data: &str) -> String {
    let model = folder.text("d.safetensors");
    succeed(&[
        "train", "denoise", data, "--arch", "micro", "--steps", "2", "--batch", "2", "--patch", "16", "-o", &model,
    ]);
    model
}

#[test]
fn a_clip_is_learned_from_judged_and_denoised() {
    let folder = Folder::new();
    let data = clip(&folder, "clip.mp4", 20);
    let model = denoiser(&folder, &data);
    let judged = figures(&["eval", &model, &data, "--sigma", "25", "--every", "2"]);
    assert_eq!(judged["images"], 10);
    assert!(judged["psnr"].as_f64().unwrap() > 0.0, "{judged}");
    for extension in EXTENSIONS {
        let output = folder.text(&format!("out.{}", extension.to_uppercase()));
        succeed(&["run", &model, &data, "-o", &output]);
        let times: Vec<_> = VideoReader::open(&output)
            .unwrap()
            .map(|f| f.unwrap().time_ns)
            .collect();
        let wanted: Vec<_> = (0..20).map(|number| Some(number * 40_000_000)).collect();
        assert_eq!(times, wanted, "{output}");
    }
    assert_eq!(folder.names("").len(), 2 + EXTENSIONS.len(), "{:?}", folder.names(""));
    let some = folder.text("some.avi");
    succeed(&["run", &model, &data, "-o", &some, "--every", "3", "--max-frames", "4"]);
    let times = VideoReader::open(&some).unwrap().map(|f| f.unwrap().time_ns.unwrap());
    assert_eq!(times.collect::<Vec<_>>(), [0, 120_000_000, 240_000_000, 360_000_000]);
    let before = std::fs::read(&data).unwrap();
    for input in [data.clone(), format!("file://{data}")] {
        assert_fails(
            &run(&["run", &model, &input, "-o", &data]),
            &["clip.mp4", "would replace it"],
        );
    }
    assert_eq!(std::fs::read(&data).unwrap(), before);
}

#[test]
fn a_clip_of_good_parts_calibrates() {
    let folder = Folder::new();
    let (data, model) = (clip(&folder, "clip.avi", 24), folder.text("m.safetensors"));
    succeed(&[
        "train", "anomaly", &data, "--width", "2", "--size", "32x32", "--steps", "2", "--batch", "2", "-o", &model,
    ]);
    succeed(&["calibrate", &model, &data, "--max-frames", "12"]);
    assert_eq!(figures(&["info", &model])["calibration"]["frames"], 12);
    let lines = succeed(&["run", &model, &data, "-o", "-"]);
    assert_eq!(lines.lines().count(), 24);
    assert!(lines.lines().last().unwrap().contains("clip.avi#23"), "{lines}");
}

/// A clip of a square that moves by `step(frame)` pixels a frame.
fn moving(folder: &Folder, name: &str, frames: u64, step: impl Fn(u64) -> f32) {
    let mut writer = VideoWriter::create(&folder.path(name), 64, 48, (25, 1)).unwrap();
    let mut at = 0.0;
    for number in 0..frames {
        let mut frame = Image::filled(1, 48, 64, 0.2);
        at = (at + step(number)) % 50.0;
        for (i, value) in frame.data.iter_mut().enumerate() {
            let (x, y) = ((i % 64) as f32, i / 64);
            if (20..30).contains(&y) && (at..at + 10.0).contains(&x) {
                *value = 0.8;
            }
        }
        add_gaussian(&mut frame, 0.02, &mut stream(4, number, 0));
        writer.write(&frame).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn what_moves_otherwise_is_told_by_a_prediction() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("good")).unwrap();
    std::fs::create_dir(folder.path("test")).unwrap();
    moving(&folder, "good/walk.avi", 150, |_| 1.0);
    let run_away = |number: u64| if number < 40 { 1.0 } else { 6.0 };
    moving(&folder, "test/run.avi", 60, run_away);
    let mut labels = "clip,frame,abnormal\n".to_owned();
    for number in 0..60 {
        labels += &format!("run,{number},{}\n", u8::from(number >= 40));
    }
    std::fs::write(folder.path("test/labels.csv"), &labels).unwrap();
    let (good, test, model) = (folder.text("good"), folder.text("test"), folder.text("m.safetensors"));
    let train = [
        "train", "predict", &good, "--width", "4", "--steps", "60", "--batch", "4", "-o", &model,
    ];
    let output = run(&train);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("brought to 64x48"), "{said}");
    let card = figures(&["info", &model]);
    assert_eq!(
        (&card["task"], &card["input"]["frames"]),
        (&"predict".into(), &4.into()),
        "{card}"
    );
    let judged = figures(&["eval", &model, &test]);
    assert!(judged["frame_auc"].as_f64().unwrap() > 0.9, "{judged}");
    assert_eq!(judged["images"], 56);
    // The frames that have too few before them get no score, in each clip anew.
    let lines = succeed(&["run", &model, &test, &good, "-o", "-"]);
    let unjudged: Vec<usize> = (0..)
        .zip(lines.lines())
        .filter(|(_, line)| line.contains("\"score\":null,"))
        .map(|(i, _)| i)
        .collect();
    assert_eq!(unjudged, [0, 1, 2, 3, 60, 61, 62, 63]);
    // The same frames as pictures.
    let pictures = folder.text("pictures");
    succeed(&["run", &denoiser(&folder, &good), &good, "-o", &pictures, "--sigma", "0"]);
    let other = folder.text("other.safetensors");
    succeed(&[
        "train", "predict", &pictures, "--width", "2", "--steps", "2", "--batch", "2", "-o", &other,
    ]);
    // 15 % of 150 frames are held out, and the first four of these are not judged.
    assert_eq!(figures(&["info", &other])["calibration"]["frames"], 23 - 4);
    // Frames that are called abnormal are not learned from.
    let few = folder.text("few.safetensors");
    assert_fails(
        &run(&["train", "predict", &test, "--steps", "1", "-o", &few]),
        &["test", "longer videos"],
    );
    std::fs::write(folder.path("test/labels.csv"), labels.replace("run,7,0", "run,seven,0")).unwrap();
    assert_fails(
        &run(&["eval", &model, &test]),
        &["labels.csv", "line 9", "`run,seven,0`"],
    );
}

#[test]
fn help_and_errors_name_the_videos_that_can_be_written() {
    let folder = Folder::new();
    let data = clip(&folder, "clip.avi", 4);
    let model = denoiser(&folder, &data);
    let help = succeed(&["run", "--help"]);
    let refused = run(&["run", &model, &data, "-o", &folder.text("x.mkv")]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_fails(&refused, &["x.mkv"]);
    for extension in EXTENSIONS {
        assert!(help.contains(&format!(".{extension}")), "{help}");
        assert!(said.contains(extension), "{said}");
    }
    assert!(!help.contains("mkv"), "{help}");
    assert_eq!(folder.names(""), ["clip.avi", "d.safetensors"]);
}

#[test]
fn a_clip_that_breaks_off_is_an_error() {
    let folder = Folder::new();
    let model = denoiser(&folder, &clip(&folder, "good.avi", 4));
    for name in ["cut.avi", "cut.mp4"] {
        let data = clip(&folder, name, 30);
        cut(&folder, name);
        assert_fails(
            &run(&["run", &model, &data, "-o", &folder.text("out.avi")]),
            &[&data, "breaks off"],
        );
        let new = folder.text("new.safetensors");
        let train = run(&["train", "denoise", &data, "--arch", "micro", "--steps", "1", "-o", &new]);
        assert_fails(&train, &[&data, "breaks off"]);
    }
    assert_eq!(folder.names(""), ["cut.avi", "cut.mp4", "d.safetensors", "good.avi"]);
}

#[test]
fn ctrl_c_leaves_no_part_of_a_video() {
    let folder = Folder::new();
    let model = denoiser(&folder, &clip(&folder, "few.avi", 4));
    let data = clip(&folder, "clip.avi", 1500);
    std::fs::create_dir(folder.path("out")).unwrap();
    let arguments = ["run", &model, &data, "-o", &folder.text("out/x.avi")];
    let child = gst_candle(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    let size = |name: String| std::fs::metadata(folder.path("out").join(name)).map_or(0, |file| file.len());
    while folder.names("out").into_iter().map(size).all(|bytes| bytes == 0) {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing is written");
        std::thread::sleep(Duration::from_millis(2));
    }
    interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert_eq!(text, "stopped\n");
    assert_eq!(folder.names("out"), [""; 0]);
}

#[test]
fn a_full_disk_leaves_no_video() {
    let folder = Folder::new();
    let data = clip(&folder, "clip.avi", 60);
    let model = denoiser(&folder, &data);
    for name in ["x.avi", "x.mp4"] {
        succeed(&["run", &model, &data, "-o", &folder.text(name)]);
        assert!(
            std::fs::metadata(folder.path(name)).unwrap().len() > 2 * 16 * 1024,
            "{name} must not fit"
        );
        let begun = Instant::now();
        let output = folder.text(&format!("out/{name}"));
        assert_full_disk_leaves_nothing(&folder, "16k", &["run", &model, &data, "-o", &output]);
        assert!(
            begun.elapsed() < Duration::from_secs(50),
            "{name}: {:?}",
            begun.elapsed()
        );
    }
}
