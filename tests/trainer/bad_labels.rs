//! Folders of classes and masks that cannot be learned from, or judged by: one line that says which file, and what to do.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gst_candle::data::pictures;
use gst_candle::model::Model;
use gst_candle::pixels::Image;

use super::errors::assert_fails;
use super::{Folder, classes, figures, part, run, succeed, write};

const SIZE: [usize; 2] = [32, 32];

/// Tries to train of `data`, with `more` arguments, and asserts that it fails with `words` and leaves the folder as it was.
#[track_caller]
fn assert_untrainable(folder: &Folder, task: &str, data: &str, more: &[&str], words: &[&str]) {
    let before = folder.names("");
    let (data, model) = (folder.text(data), folder.text("m.safetensors"));
    let arguments = [
        &[
            "train", task, &data, "--size", "32x32", "--steps", "2", "--batch", "2", "-o", &model,
        ],
        more,
    ];
    assert_fails(&run(&arguments.concat()), words);
    assert_eq!(folder.names(""), before, "nothing is left");
}

/// A mask of `part`'s blot, of one value.
fn mask(value: f32, [width, height]: [usize; 2]) -> Image {
    let mut mask = Image::filled(1, height, width, 0.0);
    for y in height * 2 / 5..height * 3 / 5 {
        mask.data[y * width + width * 2 / 5..y * width + width * 3 / 5].fill(value);
    }
    mask
}

/// `count` parts with a blot and masks of it, black and white.
fn marked(folder: &Path, count: u64) {
    for number in 0..count {
        let name = format!("{number:03}.png");
        write(
            &folder.join("images").join(&name),
            &part(number, SIZE[0], SIZE[1], true),
        );
        write(&folder.join("masks").join(&name), &mask(1.0, SIZE));
    }
}

/// A folder of classes at `data`, and a change of it.
fn of_classes(change: impl FnOnce(PathBuf)) -> Folder {
    let folder = Folder::new();
    classes(&folder.path("data"), 4, SIZE);
    change(folder.path("data"));
    folder
}

/// A folder of pictures and masks at `data`, and a change of it.
fn of_masks(change: impl FnOnce(PathBuf)) -> Folder {
    let folder = Folder::new();
    marked(&folder.path("data"), 8);
    change(folder.path("data"));
    folder
}

fn remove(path: PathBuf) {
    std::fs::remove_file(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A file that breaks off in the middle.
fn tear(path: &Path) {
    let whole = std::fs::read(path).unwrap();
    std::fs::write(path, &whole[..whole.len() / 2]).unwrap();
}

/// A video of a second.
#[cfg(feature = "video")]
fn video(path: &Path) {
    use gst_candle::data::video::VideoWriter;

    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = VideoWriter::create(path, 64, 48, (10, 1)).unwrap();
    for number in 0..10 {
        writer.write(&part(number, 64, 48, false)).unwrap();
    }
    writer.finish().unwrap();
}

#[test]
fn classes_without_pictures_or_without_another() {
    for task in ["classify", "segment"] {
        let folder = of_classes(|data| std::fs::create_dir(data.join("dented")).unwrap());
        assert_untrainable(&folder, task, "data", &[], &["data/dented", "no pictures"]);
        let folder = of_classes(|data| std::fs::remove_dir_all(data.join("marked")).unwrap());
        assert_untrainable(&folder, task, "data", &[], &["data", "class", "two"]);
        // One that only test/ has is for the model not to know.
        let folder = Folder::new();
        classes(&folder.path("data/train"), 4, SIZE);
        classes(&folder.path("data/val"), 2, SIZE);
        std::fs::rename(folder.path("data/val/marked"), folder.path("data/val/dented")).unwrap();
        let words = ["data", "`dented`", "no pictures to train on"];
        assert_untrainable(&folder, task, "data", &[], &words);
        let folder = of_classes(|_| ());
        classes(&folder.path("apart"), 2, SIZE);
        std::fs::rename(folder.path("apart/marked"), folder.path("apart/dented")).unwrap();
        let apart = folder.text("apart");
        assert_untrainable(&folder, task, "data", &["--val", &apart], &["apart", "dented"]);
    }
}

#[test]
fn classes_of_pixels_by_folders() {
    let folder = of_classes(|_| ());
    let words = ["data", "--labels names the classes of masks"];
    assert_untrainable(&folder, "segment", "data", &["--labels", "a,b"], &words);
    let folder = Folder::new();
    for class in 0..256 {
        write(
            &folder.path(&format!("data/{class:03}/x.png")),
            &part(class, 8, 8, false),
        );
    }
    let words = ["data", "256 classes, more than the 255"];
    assert_untrainable(&folder, "segment", "data", &[], &words);
}

#[test]
fn names_of_classes_are_utf8() {
    let name = OsStr::from_bytes(b"bossel\xe9");
    for task in ["classify", "segment"] {
        let folder = of_classes(|data| std::fs::rename(data.join("marked"), data.join(name)).unwrap());
        assert_untrainable(&folder, task, "data", &[], &["data/bossel", "not UTF-8", "rename"]);
    }
    let folder = of_masks(|_| ());
    let mut command = super::gst_candle(&[
        "train",
        "segment",
        &folder.text("data"),
        "-o",
        &folder.text("m.safetensors"),
    ]);
    let output = command.arg("--labels").arg(name).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "an argument that makes no sense");
    assert!(String::from_utf8_lossy(&output.stderr).contains("UTF-8"));
    assert_eq!(folder.names(""), ["data"]);
    let folder = of_classes(|_| ());
    let labels = folder.path("names.txt");
    std::fs::write(&labels, b"plain\nbossel\xe9\n").unwrap();
    let (onnx, labels) = (folder.path("x.onnx"), labels.to_str().unwrap().to_owned());
    succeed(&[
        "train",
        "classify",
        &folder.text("data"),
        "--arch",
        "lenet",
        "--size",
        "32x32",
        "--steps",
        "1",
        "-o",
        &folder.text("c.safetensors"),
    ]);
    succeed(&["export", &folder.text("c.safetensors"), onnx.to_str().unwrap()]);
    let model = folder.text("m.safetensors");
    let arguments = [
        "import",
        onnx.to_str().unwrap(),
        "--task",
        "classify",
        "--labels-file",
        &labels,
        "-o",
        &model,
    ];
    assert_fails(&run(&arguments), &["names.txt", "UTF-8"]);
    assert!(!folder.path("m.safetensors").exists());
}

#[test]
fn pictures_and_masks_belong_together() {
    let fails = |change: &dyn Fn(PathBuf), words: &[&str]| {
        assert_untrainable(&of_masks(change), "segment", "data", &[], words);
    };
    fails(
        &|data| remove(data.join("masks/003.png")),
        &["images/003.png", "masks/", "all black"],
    );
    fails(
        &|data| remove(data.join("images/003.png")),
        &["masks/003.png", "images/", "add it"],
    );
    fails(
        &|data| write(&data.join("masks/003.png"), &mask(1.0, [30, 32])),
        &["masks/003.png", "30x32", "32x32"],
    );
    fails(
        &|data| write(&data.join("masks/003.png"), &mask(2.0 / 255.0, SIZE)),
        &["masks/003.png", "of class numbers", "masks/000.png"],
    );
    fails(
        &|data| (0..8).for_each(|number| write(&data.join(format!("masks/{number:03}.png")), &mask(0.0, SIZE))),
        &["data/masks", "all are black"],
    );
    fails(&|data| tear(&data.join("masks/003.png")), &["masks/003.png"]);
    fails(&|data| tear(&data.join("images/003.png")), &["images/003.png"]);
    fails(
        &|data| std::fs::write(data.join("images/003.png"), "no picture").unwrap(),
        &["images/003.png", "not a picture"],
    );
}

#[test]
fn masks_are_no_pictures_and_pictures_no_masks() {
    let fails = |change: &dyn Fn(PathBuf), data: &str, words: &[&str]| {
        assert_untrainable(&of_masks(change), "segment", data, &[], words);
    };
    let swap = |data: PathBuf| {
        std::fs::rename(data.join("masks"), data.join("x")).unwrap();
        std::fs::rename(data.join("images"), data.join("masks")).unwrap();
        std::fs::rename(data.join("x"), data.join("images")).unwrap();
    };
    fails(&swap, "data", &["masks/000.png", "no mask"]);
    let colored = |data: PathBuf| {
        let image = part(3, SIZE[0], SIZE[1], true).to_color(gst_candle::model::Color::Rgb);
        let mut image = image;
        image.data[..SIZE[0]].fill(1.0);
        write(&data.join("masks/003.png"), &image);
    };
    fails(&colored, "data", &["masks/003.png", "no mask: it has colours"]);
    let own = |data: PathBuf| {
        for number in 0..8 {
            let name = format!("{number:03}.png");
            std::fs::copy(data.join("masks").join(&name), data.join("images").join(&name)).unwrap();
        }
    };
    fails(&own, "data", &["data", "their own masks", "images/"]);
    for folder in ["data/masks", "data/images"] {
        fails(&|_| (), folder, &[folder, "images/ and masks/"]);
    }
    let folder = of_masks(|_| ());
    assert_untrainable(
        &folder,
        "classify",
        "data",
        &[],
        &["data", "images/ with masks/", "two folders"],
    );
}

#[test]
fn masks_held_out_are_of_the_same_kind_and_classes() {
    let fails = |value: f32, words: &[&str]| {
        let folder = Folder::new();
        for number in 0..8 {
            let name = format!("{number:03}.png");
            write(
                &folder.path("data/images").join(&name),
                &part(number, SIZE[0], SIZE[1], true),
            );
            write(&folder.path("data/masks").join(&name), &mask(1.0 / 255.0, SIZE));
        }
        marked(&folder.path("apart"), 2);
        write(&folder.path("apart/masks/000.png"), &mask(value, SIZE));
        write(&folder.path("apart/masks/001.png"), &mask(value, SIZE));
        let apart = folder.text("apart");
        assert_untrainable(&folder, "segment", "data", &["--val", &apart], words);
    };
    fails(1.0, &["apart/masks/000.png", "black and white", "of class numbers"]);
    fails(3.0 / 255.0, &["apart/masks/000.png", "class 3", "0 to 1"]);
    let folder = of_masks(|_| ());
    assert_untrainable(
        &folder,
        "segment",
        "data",
        &["--labels", "chip,dent"],
        &["data", "2 labels", "1 classes"],
    );
}

#[cfg(feature = "video")]
#[test]
fn a_video_says_nothing_of_classes() {
    let folder = Folder::new();
    video(&folder.path("clips/one.avi"));
    for (task, words) in [
        ("classify", ["one.avi", "video", "two folders"]),
        ("segment", ["one.avi", "video", "masks/"]),
    ] {
        assert_untrainable(&folder, task, "clips/one.avi", &[], &words);
        let words = words.map(|word| if word == "one.avi" { "clips" } else { word });
        assert_untrainable(&folder, task, "clips", &[], &words);
    }
    let folder = of_classes(|data| {
        std::fs::remove_dir_all(data.join("marked")).unwrap();
        video(&data.join("marked/one.avi"));
    });
    assert_untrainable(&folder, "classify", "data", &[], &["data/marked", "no pictures"]);
}

#[test]
fn what_segmenters_cannot_be_judged_by() {
    let folder = of_masks(|_| ());
    let (model, data) = (folder.text("m.safetensors"), folder.text("data"));
    succeed(&[
        "train", "segment", &data, "--size", "32x32", "--width", "2", "--depth", "2", "--steps", "2", "--batch", "2",
        "-o", &model,
    ]);
    let eval = |words: &[&str]| {
        let figures = folder.text("figures.json");
        assert_fails(&run(&["eval", &model, &data, "--json", &figures]), words);
        assert!(!folder.path("figures.json").exists());
    };
    let replaced = |name: &str, image: &Image, words: &[&str]| {
        let path = folder.path("data").join(name);
        let before = std::fs::read(&path).unwrap();
        write(&path, image);
        eval(words);
        std::fs::write(&path, before).unwrap();
    };
    replaced("masks/003.png", &mask(1.0, [30, 32]), &["masks/003.png", "30x32"]);
    replaced(
        "masks/003.png",
        &part(3, SIZE[0], SIZE[1], true),
        &["masks/003.png", "no mask"],
    );
    replaced(
        "masks/003.png",
        &mask(2.0 / 255.0, SIZE),
        &["masks/003.png", "of class numbers"],
    );
    assert_fails(
        &run(&["eval", &model, &folder.text("data/images")]),
        &["data/images", "images/ and masks/"],
    );
    let torn = std::fs::read(folder.path("data/images/005.png")).unwrap();
    tear(&folder.path("data/images/005.png"));
    eval(&["images/005.png"]);
    std::fs::write(folder.path("data/images/005.png"), torn).unwrap();
    for number in 0..8 {
        write(
            &folder.path(&format!("data/masks/{number:03}.png")),
            &mask(3.0 / 255.0, SIZE),
        );
    }
    eval(&["data", "4 classes", "background, defect"]);
    for number in 0..8 {
        write(
            &folder.path(&format!("data/masks/{number:03}.png")),
            &mask(1.0 / 255.0, SIZE),
        );
    }
    // Wherever the background is, it does not count.
    let renamed = |labels: [&str; 2]| {
        let mut model = Model::load(&model).unwrap();
        model.labels = labels.map(String::from).into();
        model.save(folder.path("m.safetensors")).unwrap();
    };
    let iou = |labels| {
        renamed(labels);
        figures(&["eval", &model, &data])["iou"].as_f64().unwrap()
    };
    let [second, first, both] = [["background", "b"], ["a", "background"], ["a", "b"]].map(iou);
    assert!(
        first > 0.0 && (first + second - 2.0 * both).abs() < 1e-6,
        "{first} {second} {both}"
    );
    // White in black and white masks is the second of two classes, of which the first is the background.
    std::fs::remove_dir_all(folder.path("data")).unwrap();
    marked(&folder.path("data"), 8);
    for labels in [["a", "b"], ["a", "background"]] {
        renamed(labels);
        eval(&["data", "black and white", &labels.join(", ")]);
    }
    assert_eq!(folder.names(""), ["data", "m.safetensors"]);
    assert!(pictures::read(&folder.path("data/masks/000.png")).is_ok());
}

#[test]
fn what_classifiers_cannot_be_judged_by() {
    let folder = of_classes(|_| ());
    let (model, data) = (folder.text("m.safetensors"), folder.text("data"));
    succeed(&[
        "train", "classify", &data, "--arch", "lenet", "--size", "32x32", "--steps", "1", "--batch", "2", "-o", &model,
    ]);
    marked(&folder.path("masked"), 4);
    for (given, words) in [
        ("masked", ["masked", "named by class"]),
        ("masked/images", ["masked/images", "named by class"]),
        ("data/plain", ["data/plain", "named by class"]),
    ] {
        assert_fails(&run(&["eval", &model, &folder.text(given)]), &words);
    }
    std::fs::create_dir(folder.path("data/dented")).unwrap();
    assert_fails(&run(&["eval", &model, &data]), &["data/dented", "no pictures"]);
    assert_eq!(folder.names(""), ["data", "m.safetensors", "masked"]);
}
