use super::*;
use tempfile::{TempDir, tempdir};

/// A folder with small pictures of these names, each with its own content.
fn folder(names: &[&str]) -> TempDir {
    let dir = tempdir().unwrap();
    for (i, name) in names.iter().enumerate() {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        pictures::write(&path, &Image::filled(1, 2, 3, (i % 250) as f32 / 255.0)).unwrap();
    }
    dir
}

fn argument(dir: &TempDir) -> String {
    dir.path().to_str().unwrap().to_owned()
}

fn open(dir: &TempDir, split: Split) -> Dataset {
    Dataset::open(&[argument(dir)], split, VideoLimits::default()).unwrap()
}

fn error(path: &str, split: Split) -> String {
    Dataset::open(&[path.to_owned()], split, VideoLimits::default())
        .unwrap_err()
        .to_string()
}

/// Names below the folder, with class, mask and clean picture.
fn listing(data: &Dataset) -> Vec<String> {
    let name = |sample: &Sample| {
        let Source::Picture(path) = &sample.source else {
            panic!("a picture")
        };
        let mut text = data.relative(path);
        for (sign, extra) in [
            ('=', sample.class.clone()),
            ('|', sample.mask.as_ref().map(|m| data.relative(m))),
        ] {
            extra.into_iter().for_each(|e| text.push_str(&format!("{sign}{e}")));
        }
        sample
            .clean
            .iter()
            .for_each(|c| text.push_str(&format!("~{}", data.relative(c))));
        text
    };
    data.samples.iter().map(name).collect()
}

#[test]
fn flat_folders_and_single_pictures() {
    let dir = folder(&["b.png", "a.JPG", ".hidden.png", "sub/c.png"]);
    std::fs::write(dir.path().join("notes.txt"), "x").unwrap();
    let data = open(&dir, Split::Train);
    assert_eq!(
        (data.layout, listing(&data)),
        (Layout::Flat, vec!["a.JPG".into(), "b.png".into()])
    );
    assert_eq!(data.read(&data.samples[1]).unwrap(), Image::filled(1, 2, 3, 0.0));
    assert_eq!(open(&dir, Split::Test).samples, data.samples);
    assert!(open(&dir, Split::Val).samples.is_empty());
    let both = [
        argument(&dir),
        dir.path().join("sub/c.png").to_str().unwrap().to_owned(),
    ];
    let data = Dataset::open(&both, Split::Train, VideoLimits::default()).unwrap();
    assert_eq!(listing(&data), ["a.JPG", "b.png", "c.png"]);
}

#[test]
fn image_folders() {
    let names = ["train/b/1.png", "train/a/2.png", "test/a/3.png", "test/c/4.png"];
    let dir = folder(&names);
    let data = open(&dir, Split::Train);
    assert_eq!(
        (data.layout, data.classes.join("")),
        (Layout::ImageFolder, "ab".to_owned())
    );
    assert_eq!(
        open(&dir, Split::Test).classes.join(""),
        "abc",
        "one that it cannot know"
    );
    assert_eq!(listing(&data), ["train/a/2.png=a", "train/b/1.png=b"]);
    assert_eq!(listing(&open(&dir, Split::Test)), ["test/a/3.png=a", "test/c/4.png=c"]);
    assert!(open(&dir, Split::Val).samples.is_empty());
    let dir = folder(&["x/1.png", "y/2.png"]);
    assert_eq!(listing(&open(&dir, Split::Test)), ["x/1.png=x", "y/2.png=y"]);
    assert_eq!(open(&dir, Split::Train).classes, ["x", "y"]);
    let dir = folder(&["valid/x/1.png", "train/x/2.png", "train/y/2.png"]);
    assert_eq!(listing(&open(&dir, Split::Val)), ["valid/x/1.png=x"]);
    assert!(error(&argument(&dir), Split::Test).contains("no test/"));
}

#[test]
fn mvtec_with_masks() {
    let names = [
        "train/good/0.png",
        "test/good/0.png",
        "test/crack/0.png",
        "test/crack/1.png",
        "ground_truth/crack/0_mask.png",
    ];
    let dir = folder(&[&names[..], &["ground_truth/crack/1_mask.png"]].concat());
    let data = open(&dir, Split::Train);
    assert_eq!(
        (data.layout, data.classes.clone()),
        (Layout::Mvtec, vec!["crack".to_owned(), "good".into()])
    );
    assert_eq!(listing(&data), ["train/good/0.png=good"]);
    let mask = "|ground_truth/crack";
    let expected = [
        format!("test/crack/0.png=crack{mask}/0_mask.png"),
        format!("test/crack/1.png=crack{mask}/1_mask.png"),
        "test/good/0.png=good".into(),
    ];
    assert_eq!(listing(&open(&dir, Split::Test)), expected);
    assert!(open(&dir, Split::Val).samples.is_empty());
    let message = error(&argument(&folder(&names)), Split::Test);
    assert!(
        message.contains("test/crack/1.png") && message.contains("1_mask.png"),
        "{message}"
    );
}

#[test]
fn twins_and_their_missing_partners() {
    let dir = folder(&["noisy/a.png", "clean/a.jpg"]);
    let data = open(&dir, Split::Train);
    assert_eq!(
        (data.layout, listing(&data)),
        (Layout::Pairs, vec!["noisy/a.png~clean/a.jpg".to_owned()])
    );
    let dir = folder(&[
        "train/images/a.jpg",
        "train/masks/a.png",
        "test/images/b.jpg",
        "test/masks/b.png",
    ]);
    let data = open(&dir, Split::Test);
    assert_eq!(
        (data.layout, listing(&data)),
        (Layout::Masks, vec!["test/images/b.jpg|test/masks/b.png".to_owned()])
    );
    assert!(open(&dir, Split::Val).samples.is_empty());
    let message = error(
        &argument(&folder(&["noisy/a.png", "noisy/b.png", "clean/a.png"])),
        Split::Train,
    );
    assert!(
        message.contains("noisy/b.png") && message.contains("clean/"),
        "{message}"
    );
    let message = error(
        &argument(&folder(&["images/a.png", "masks/b.png", "masks/a.png"])),
        Split::Train,
    );
    assert!(message.contains("masks/b.png"), "{message}");
}

#[test]
fn what_is_no_data_is_said() {
    let dir = tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    assert!(error(&at("nothing"), Split::Train).contains("No such file"));
    assert!(error(&at(""), Split::Train).contains("no pictures, videos or folders"));
    std::fs::create_dir_all(dir.path().join("one/two")).unwrap();
    assert!(error(&at(""), Split::Train).contains("only the folders one"));
    std::fs::write(dir.path().join("table.csv"), "1,2").unwrap();
    assert!(error(&at("table.csv"), Split::Train).contains("table.csv: neither a picture"));
    std::fs::create_dir_all(dir.path().join("two/train")).unwrap();
    assert!(error(&at("two"), Split::Train).contains("train/ holds no class folders"));
    assert!(Dataset::open(&[], Split::Train, VideoLimits::default()).is_err());
    let (flat, classes) = (folder(&["a.png"]), folder(&["a/b.png"]));
    let message = Dataset::open(
        &[argument(&flat), argument(&classes)],
        Split::Train,
        VideoLimits::default(),
    )
    .unwrap_err();
    assert!(message.to_string().contains("one layout"));
    let message = Dataset::open(&["rtsp://camera/1".into()], Split::Train, VideoLimits::default()).unwrap_err();
    assert!(message.to_string().contains("how many frames"), "{message}");
}

#[test]
fn the_digest_follows_names_and_contents_not_the_place() {
    let names = ["train/good/0.png", "test/good/0.png"];
    let (one, two) = (folder(&names), folder(&names));
    let digest = |dir: &TempDir| open(dir, Split::Train).digest().unwrap();
    assert_eq!(digest(&one), digest(&two));
    assert_eq!(digest(&one).len(), 64);
    let before = digest(&two);
    std::fs::rename(two.path().join(names[0]), two.path().join("train/good/1.png")).unwrap();
    assert_ne!(digest(&two), before);
    pictures::write(&one.path().join(names[0]), &Image::filled(1, 2, 3, 0.9)).unwrap();
    assert_ne!(digest(&one), before);
}

#[test]
fn masks_are_cut_at_one_half() {
    let dir = tempdir().unwrap();
    let path = dir.path().join("mask.png");
    pictures::write(
        &path,
        &Image {
            channels: 1,
            height: 1,
            width: 4,
            data: vec![0.0, 0.4, 0.6, 1.0],
        },
    )
    .unwrap();
    let picture = |width| Image::filled(3, 1, width, 0.0);
    assert_eq!(read_mask(&path, &picture(4)).unwrap().data, [0.0, 0.0, 1.0, 1.0]);
    let error = read_mask(&path, &picture(5)).unwrap_err().to_string();
    assert!(error.contains("4x1 pixels, its picture 5x1"), "{error}");
}

fn samples(sources: impl Iterator<Item = (Source, Option<&'static str>)>) -> Vec<Sample> {
    sources
        .map(|(source, class)| Sample {
            source,
            class: class.map(str::to_owned),
            mask: None,
            clean: None,
            place: 0,
        })
        .collect()
}

fn picture(name: String) -> Source {
    Source::Picture(name.into())
}

#[test]
fn frames_are_split_by_time() {
    let frame = |video: &str, index| {
        (
            Source::Frame {
                video: video.to_owned(),
                index,
            },
            None,
        )
    };
    let all = samples((0..10).map(|i| frame("a", i)).chain((0..20).map(|i| frame("b", i))));
    let chosen = split::choose(&all, 0.2, 1);
    let expected: Vec<bool> = (0..30).map(|i| (8..10).contains(&i) || i >= 26).collect();
    assert_eq!(chosen, expected);
}

#[test]
fn classes_keep_their_shares_and_the_seed_fixes_the_draw() {
    let all = samples((0..100).map(|i| (picture(format!("x{i}y")), Some(if i < 70 { "a" } else { "b" }))));
    let chosen = split::choose(&all, 0.1, 5);
    let count = |range: std::ops::Range<usize>| chosen[range].iter().filter(|&&c| c).count();
    assert_eq!((count(0..70), count(70..100)), (7, 3));
    assert_eq!(chosen, split::choose(&all, 0.1, 5));
    assert_ne!(chosen, split::choose(&all, 0.1, 6));
}

#[test]
fn neighbouring_numbers_stay_together() {
    // Forty parts, each in six exposures with numbers close to each other, as the magnetic tiles are named.
    let name = |i: usize| picture(format!("exp{}_num_{}", i % 6, 1000 * (i / 6) + 15 * (i % 6)));
    let all = samples((0..240).map(|i| (name(i), None)));
    for seed in 0..10 {
        let chosen = split::choose(&all, 0.15, seed);
        assert!(
            chosen.chunks(6).all(|part| part.iter().all(|&c| c == part[0])),
            "seed {seed}"
        );
        assert!(
            (30..=42).contains(&chosen.iter().filter(|&&c| c).count()),
            "seed {seed}"
        );
    }
    // One part under the same number from two cameras.
    let all = samples((0..80).map(|i| (picture(format!("cam{}_{:03}", i % 2, i / 2)), None)));
    let chosen = split::choose(&all, 0.2, 3);
    assert!(chosen.chunks(2).all(|part| part[0] == part[1]));
    // A number that is a camera, not a part.
    let all = samples((0..80).map(|i| (picture(format!("part{}_{}", i / 2, i % 2)), None)));
    assert_eq!(split::choose(&all, 0.2, 3).iter().filter(|&&c| c).count(), 16);
}

#[test]
fn no_side_is_empty() {
    for n in 0..12 {
        for share in [0.0, 0.01, 0.5, 1.0, f64::NAN] {
            for numbered in [true, false] {
                let name = |i| picture(if numbered { format!("x{i}") } else { format!("x{i}y") });
                let all = samples((0..n).map(|i| (name(i), None)));
                let count = split::choose(&all, share, 2).iter().filter(|&&c| c).count();
                assert!(
                    if n > 1 { count > 0 && count < n } else { count == 0 },
                    "{n} {share} {count}"
                );
            }
        }
    }
}

#[test]
fn split_off_keeps_every_sample_once() {
    let names: Vec<String> = (0..20).map(|i| format!("part_{i}.png")).collect();
    let dir = folder(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let all = open(&dir, Split::Train);
    let (rest, validation) = all.clone().split_off(0.2, 9);
    assert_eq!((rest.samples.len(), validation.samples.len()), (16, 4));
    assert!(
        all.samples
            .iter()
            .all(|s| rest.samples.contains(s) != validation.samples.contains(s))
    );
}

#[test]
fn real_sets_are_recognised() {
    let root = std::env::var("GST_CANDLE_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/data").into());
    if !Path::new(&root).is_dir() {
        println!("skipped: no data in {root}; set GST_CANDLE_DATA");
        return;
    }
    let expected = [
        ("anomaly/magnetic_tile", Layout::Mvtec, 726, 618, 6),
        ("anomaly/hazelnut", Layout::Mvtec, 50, 10, 5),
        ("segment/magnetic_tile", Layout::Masks, 233, 159, 0),
        ("classify/neu", Layout::ImageFolder, 1440, 360, 6),
        ("denoise/polyu_canon", Layout::Pairs, 55, 55, 0),
        ("denoise/bsd68", Layout::Flat, 68, 68, 0),
    ];
    for (name, layout, train, test, classes) in expected {
        let open = |split| Dataset::open(&[format!("{root}/{name}")], split, VideoLimits::default()).unwrap();
        let (a, b) = (open(Split::Train), open(Split::Test));
        assert_eq!(
            (a.layout, a.samples.len(), b.samples.len(), a.classes.len()),
            (layout, train, test, classes),
            "{name}"
        );
        a.read(&a.samples[0]).unwrap();
    }
}
