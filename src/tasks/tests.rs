use super::*;
use crate::exec::{Options, Session};
use crate::graph::{Array, Builder, Weights};
use crate::model::{AnomalyCalibration, Calibration, Color, InputSpec, MapKind, Resize};
use crate::nets::{self, NetOptions};
use crate::pixels::{Colorimetry, Frame, FrameMut, Image, Motion, PixelFormat, Pyramid, Yuv420};
use crate::score::regions;

/// A small untrained model, every bias of which is `bias`.
fn model(task: Task, name: &str, options: &NetOptions, bias: f32) -> Model {
    let net = nets::build(task, name, options).unwrap();
    let mut weights = nets::init(&net, 1).unwrap();
    for (name, array) in &mut weights {
        if name.ends_with(".bias") {
            array.data.fill(bias);
        }
    }
    Model {
        task,
        graph: net.graph,
        input: net.input,
        labels: Vec::new(),
        calibration: None,
        training: Default::default(),
        weights,
    }
}

/// Of a map whose values are defective at and above 0.5.
fn calibration(map: MapKind, smooth: usize) -> Option<Calibration> {
    Some(Calibration::Anomaly(AnomalyCalibration {
        map,
        smooth,
        pool: 1,
        context: 1,
        threshold: 0.5,
        rates: vec![],
        quantiles: vec![],
        pixel_threshold: 0.5,
        frames: 1,
    }))
}

fn message<T>(result: Result<T>) -> String {
    result.err().expect("it must not give a score").to_string()
}

#[test]
fn an_anomaly_score_is_never_made_of_values_that_are_not_finite() {
    for (name, map) in [("fair", MapKind::Msgms), ("unet", MapKind::Direct)] {
        let inspect = |bias: f32| {
            let options = NetOptions {
                width: Some(2),
                size: (name == "fair").then_some([32, 32]),
                ..Default::default()
            };
            let mut model = model(Task::Anomaly, name, &options, bias);
            model.calibration = calibration(map, 3);
            let mut detector = AnomalyDetector::new(&model, &Options::default()).unwrap();
            detector.inspect(&Image::filled(1, 30, 40, 0.4))
        };
        assert!(inspect(0.1).unwrap().score.is_finite(), "{name}");
        let text = message(inspect(f32::NAN));
        assert!(text.contains("not finite"), "{name}: {text}");
    }
}

#[test]
fn logits_are_finite_or_an_error() {
    let logits = |bias: f32| {
        let options = NetOptions {
            classes: 2,
            ..Default::default()
        };
        let mut model = model(Task::Classify, "lenet", &options, bias);
        model.labels = vec!["a".into(), "b".into()];
        let mut classifier = Classifier::new(&model, &Options::default()).unwrap();
        classifier.classify(&[Image::filled(1, 30, 40, 0.4)])
    };
    assert!((logits(0.1).unwrap()[0].probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
    for bias in [f32::NAN, f32::INFINITY] {
        let text = message(logits(bias));
        assert!(text.contains("not finite"), "{bias}: {text}");
    }
}

/// A denoiser that remembers gives what its network gives when its states are handed on by hand, and begins anew when it should.
#[test]
fn a_recurrent_denoiser_goes_on_from_the_frame_before() {
    let cases = [
        (Color::Gray, false, [40, 30]),
        (Color::Rgb, false, [33, 21]),
        (Color::Gray, true, [33, 21]),
    ];
    for (color, chroma, [width, height]) in cases {
        let options = NetOptions {
            width: Some(8),
            depth: Some(3),
            color: Some(color),
            chroma,
            ..Default::default()
        };
        let model = model(Task::Denoise, "recurrent", &options, 0.05);
        let frame = |number: usize| {
            let value = |i: usize| {
                0.5 + 0.3 * ((i % width + number) as f32 * 0.3).sin() * ((i / width % height) as f32 * 0.2).cos()
            };
            Image {
                channels: color.channels(),
                height,
                width,
                data: (0..color.channels() * width * height).map(value).collect(),
            }
        };
        let session = Session::in_f32(&model).unwrap();
        let (h, w) = (height.next_multiple_of(2), width.next_multiple_of(2));
        let zeros = |shape: &Vec<usize>| Array {
            data: vec![0.0; shape.iter().product()],
            shape: shape.clone(),
        };
        let mut inputs: Vec<Array> = model.input_shapes(w, h).iter().map(zeros).collect();
        let mut by_hand = Vec::new();
        for number in 0..3 {
            inputs[0] = input::batch(&[&frame(number).pad_to([w, h])]);
            inputs[1].data.fill(10.0 / 255.0);
            if chroma {
                inputs[2] = input::batch(&[&Yuv420::of(&frame(number)).chroma]);
            }
            let outputs = session.run(&inputs).unwrap();
            by_hand.push(input::only(outputs[0].clone()).crop(0, 0, width, height));
            let motion = Motion::between(&Pyramid::of(&frame(number)), &Pyramid::of(&frame(number + 1)));
            let states = inputs[2 + usize::from(chroma)..].iter_mut();
            assert_eq!(states.len(), outputs.len());
            for ((input, output), divide) in states.zip(&outputs).zip([1, 2, 2]) {
                let (h, w) = (output.shape[2], output.shape[3]);
                let planes = output.data.chunks_exact(h * w);
                input.data = planes.flat_map(|plane| motion.carry(plane, w, divide)).collect();
                assert_ne!(input.data, output.data, "it pans");
            }
        }
        let mut denoiser = Denoiser::new(&model, &Options::default()).unwrap();
        let denoise = |denoiser: &mut Denoiser, number| denoiser.denoise(&frame(number), Some(10.0)).unwrap().0;
        let close = |a: &Image, b: &Image| a.data.iter().zip(&b.data).all(|(a, b)| (a - b).abs() < 1e-5);
        for (number, expected) in by_hand.iter().enumerate() {
            assert!(
                close(&denoise(&mut denoiser, number), expected),
                "{color:?}, chroma {chroma}, frame {number}"
            );
        }
        assert!(!close(&by_hand[1], &by_hand[0]), "frames differ");
        denoiser.reset();
        assert!(close(&denoise(&mut denoiser, 0), &by_hand[0]), "after a reset");
        let dark = Image::filled(color.channels(), height, width, 0.1);
        let mut other = frame(0);
        other.data.iter_mut().for_each(|x| *x = 1.0 - *x);
        let after_a_cut = denoiser.denoise(&other, Some(10.0)).unwrap().0;
        denoiser.reset();
        assert!(
            close(&after_a_cut, &denoiser.denoise(&other, Some(10.0)).unwrap().0),
            "a cut"
        );
        let mut anew = |image: &Image| {
            let went_on = denoiser.denoise(image, Some(10.0)).unwrap().0;
            denoiser.reset();
            close(&went_on, &denoiser.denoise(image, Some(10.0)).unwrap().0)
        };
        assert!(anew(&dark.crop(0, 0, 16, 16)), "another size");
    }
}

/// A denoiser of luma and chroma gives I420's planes what its network gives for them, and pictures in RGB and grey as well.
#[test]
fn luma_and_chroma_are_denoised_as_they_are() {
    let options = NetOptions {
        width: Some(8),
        depth: Some(3),
        chroma: true,
        ..Default::default()
    };
    let model = model(Task::Denoise, "fast", &options, 0.02);
    let mut denoiser = Denoiser::new(&model, &Options::default()).unwrap();
    let session = Session::in_f32(&model).unwrap();
    let run = |yuv: &Yuv420| {
        let [luma, chroma] = [&yuv.luma, &yuv.chroma];
        let padded = luma.pad_to([luma.width, luma.height].map(|side| side.next_multiple_of(2)));
        let level = Array {
            shape: vec![1, 1, padded.height / 2, padded.width / 2],
            data: vec![10.0 / 255.0; padded.data.len() / 4],
        };
        let outputs = session
            .run(&[input::batch(&[&padded]), level, input::batch(&[chroma])])
            .unwrap();
        Yuv420 {
            luma: input::only(outputs[0].clone()).crop(0, 0, luma.width, luma.height),
            chroma: input::only(outputs[1].clone()),
        }
    };
    let (width, height) = (13, 10);
    let code = |i: usize| (60 + (i * 29) % 131) as u8;
    let codes: Vec<u8> = (0..width * height + 2 * 7 * 5).map(code).collect();
    let planes = |codes: &[u8]| {
        let (luma, rest) = codes.split_at(width * height);
        let (blue, red) = rest.split_at(7 * 5);
        [luma.to_vec(), blue.to_vec(), red.to_vec()]
    };
    let [luma, blue, red] = planes(&codes);
    let unit = |codes: &[u8]| codes.iter().map(|code| f32::from(*code) / 255.0).collect::<Vec<_>>();
    let before = Yuv420 {
        luma: Image {
            channels: 1,
            height,
            width,
            data: unit(&luma),
        },
        chroma: Image {
            channels: 2,
            height: 5,
            width: 7,
            data: [unit(&blue), unit(&red)].concat(),
        },
    };
    let expected = run(&before);
    let colorimetry = Colorimetry::default();
    let strides = vec![width, 7, 7];
    let frame = Frame::new(
        PixelFormat::I420,
        width,
        height,
        vec![&luma, &blue, &red],
        strides.clone(),
        colorimetry,
    )
    .unwrap();
    for strength in [1.0, 0.5] {
        let mut out = codes.clone();
        let (out_luma, rest) = out.split_at_mut(width * height);
        let (out_blue, out_red) = rest.split_at_mut(7 * 5);
        let written = vec![out_luma, out_blue, out_red];
        let mut written =
            FrameMut::new(PixelFormat::I420, width, height, written, strides.clone(), colorimetry).unwrap();
        denoiser.process(&frame, &mut written, Some(10.0), strength).unwrap();
        let wanted = |before: f32, after: f32| 255.0 * (before + strength * (after - before));
        let all = |yuv: &Yuv420| [&yuv.luma.data[..], &yuv.chroma.data[..]].concat();
        for ((code, before), after) in out.iter().zip(all(&before)).zip(all(&expected)) {
            let wanted = wanted(before, after).clamp(0.0, 255.0);
            assert!(
                (f32::from(*code) - wanted).abs() < 0.51,
                "strength {strength}: {code}, not {wanted}"
            );
        }
    }
    for channels in [1, 3] {
        let value = |i: usize| 0.2 + ((i * 31) % 57) as f32 / 100.0;
        let picture = Image {
            channels,
            height,
            width,
            data: (0..channels * width * height).map(value).collect(),
        };
        let halved = Yuv420::of(&picture);
        let expected = run(&halved);
        let expected = if channels == 1 {
            expected.luma
        } else {
            // Fine colour that noise of 10 does not explain is kept.
            let (mut expected, halved) = (expected.to_rgb(), halved.to_rgb());
            let mut kept = 0;
            for ((x, noisy), halved) in expected.data.iter_mut().zip(&picture.data).zip(&halved.data) {
                let (lost, noise) = (noisy - halved, 20.0 / 255.0);
                *x += lost.signum() * (lost.abs() - noise).max(0.0);
                kept += usize::from(lost.abs() > noise);
            }
            assert!(kept > 0, "there is such detail");
            expected
        };
        let got = denoiser.denoise(&picture, Some(10.0)).unwrap().0;
        assert!(
            got.data.iter().zip(&expected.data).all(|(a, b)| (a - b).abs() < 1e-5),
            "{channels} channels"
        );
        // Where there is no noise, a model with a limit changes nothing, not even fine colour.
        let mut limited = model.clone();
        limited.input.limit_change(4);
        let mut denoiser = Denoiser::new(&limited, &Options::default()).unwrap();
        let got = denoiser.denoise(&picture, Some(0.0)).unwrap().0;
        let most = got
            .data
            .iter()
            .zip(&picture.data)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max);
        assert!(most < 1e-6, "{channels} channels: {most}");
    }
}

#[test]
fn no_value_changes_by_more_than_its_limit_of_noise_levels() {
    let picture = Image {
        channels: 1,
        height: 16,
        width: 16,
        data: (0..256).map(|i| 0.3 + ((i * 37) % 64) as f32 / 200.0).collect(),
    };
    let denoised = |limit: Option<u8>, level: f32| {
        let mut model = model(Task::Denoise, "micro", &NetOptions::default(), 0.5);
        limit.into_iter().for_each(|limit| model.input.limit_change(limit));
        let mut denoiser = Denoiser::new(&model, &Options::default()).unwrap();
        denoiser.denoise(&picture, Some(level)).unwrap().0
    };
    let change = |clean: &Image| {
        let changes = clean.data.iter().zip(&picture.data).map(|(a, b)| 255.0 * (a - b).abs());
        changes.fold(0.0, f32::max)
    };
    let free = denoised(None, 2.0);
    assert!(change(&free) > 10.0, "{}", change(&free));
    let limited = denoised(Some(4), 2.0);
    assert!((change(&limited) - 8.0).abs() < 1e-3, "{}", change(&limited));
    let bound = 8.0 / 255.0;
    for ((limited, free), noisy) in limited.data.iter().zip(&free.data).zip(&picture.data) {
        assert!((limited - free.clamp(noisy - bound, noisy + bound)).abs() < 1e-6);
    }
    assert_eq!(denoised(Some(4), 0.0), picture);
}

/// A model of one size, or any, whose map is the picture: at and above 0.5 it is defective.
fn seeing(size: Option<[usize; 2]>, resize: Resize) -> Model {
    let mut net = Builder::new();
    let input = net.input("input", 1);
    let output = net.conv("same", &input, 1, 1, false);
    let weight = Array {
        shape: vec![1, 1, 1, 1],
        data: vec![1.0],
    };
    let input = InputSpec {
        resize,
        size,
        ..model(Task::Anomaly, "fair", &NetOptions::default(), 0.0).input
    };
    Model {
        graph: net.finish(&[&output]),
        input,
        weights: Weights::from([("same.weight".into(), weight)]),
        calibration: calibration(MapKind::Direct, 1),
        ..model(Task::Anomaly, "fair", &NetOptions::default(), 0.0)
    }
}

#[test]
fn planted_defects_are_found_within_a_pixel_of_where_they_are() {
    for resize in [Resize::Stretch, Resize::Letterbox, Resize::Crop, Resize::Tile] {
        for (size, frame) in [
            ([96, 96], [300, 200]),
            ([96, 64], [200, 300]),
            ([128, 96], [128, 97]),
            ([64, 64], [50, 40]),
        ] {
            let mut detector = AnomalyDetector::new(&seeing(Some(size), resize), &Options::default()).unwrap();
            // In the middle, which every mode sees, at places that fall on all parts of the map's pixels.
            for step in 0..9 {
                let [width, height] = [frame[0] / 5, frame[1] / 6];
                let [x, y] = [frame[0] / 2 - width + 2 * step, frame[1] / 2 - height + step];
                let mut picture = Image::filled(1, frame[1], frame[0], 0.0);
                for row in picture.data.chunks_mut(frame[0]).skip(y).take(height) {
                    row[x..x + width].fill(1.0);
                }
                let map = detector.inspect(&picture).unwrap().frame_map();
                let found = regions::find(&map, 0.5, 1);
                let case = format!("{resize:?} {size:?} {frame:?}: {width}x{height} at {x}, {y}: {found:?}");
                let [region] = &found[..] else {
                    panic!("{case}");
                };
                let edges = |x, y, width, height| [x, y, x + width, y + height];
                let planted = edges(x, y, width, height);
                let off = edges(region.x, region.y, region.width, region.height)
                    .into_iter()
                    .zip(planted)
                    .map(|(found, planted)| found.abs_diff(planted));
                assert!(off.into_iter().all(|off| off <= 1), "{case}");
            }
        }
    }
}

#[test]
fn frames_of_any_size_have_maps_of_theirs_raised_by_surroundings_after_the_score() {
    let mut model = seeing(None, Resize::Stretch);
    model.input.multiple_of = 16;
    let mut raised = model.clone();
    let Some(Calibration::Anomaly(calibration)) = &mut raised.calibration else {
        unreachable!("seeing has one")
    };
    calibration.context = 5;
    let [mut plain, mut raised] =
        [model, raised].map(|model| AnomalyDetector::new(&model, &Options::default()).unwrap());
    for [width, height] in [[37, 21], [16, 33], [3, 5]] {
        let mut picture = Image::filled(1, height, width, 0.1);
        picture.data[width * height - 1] = 0.75;
        let own = plain.inspect(&picture).unwrap();
        let close = |a: &Image, b: &Image| a.data.iter().zip(&b.data).all(|(a, b)| (a - b).abs() < 1e-6);
        for seen in [&own.map, &own.reconstruction, &own.frame_map()] {
            assert_eq!((seen.width, seen.height), (width, height));
            assert!(close(seen, &picture), "{width}x{height}");
        }
        let found = regions::find(&own.frame_map(), 0.5, 1);
        assert_eq!((found.len(), found[0].x, found[0].y), (1, width - 1, height - 1));

        let told = raised.inspect(&picture).unwrap();
        assert!((told.score - 0.75).abs() < 1e-6 && told.score == own.score);
        let beside = width * height - 2;
        assert!(
            told.map.data[beside] > 0.25 && told.map.data[beside] < 0.75,
            "{}",
            told.map.data[beside]
        );
        assert!(told.map.data.iter().zip(&own.map.data).all(|(told, own)| told >= own));
    }
}
