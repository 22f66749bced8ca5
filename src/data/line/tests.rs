use super::*;

fn settings() -> LineSettings {
    LineSettings {
        seed: 7,
        width: 320,
        height: 240,
        defect_rate: 0.5,
        noise: 0.0,
        frames_per_part: 30,
    }
}

/// The first frame in which part `index` stands about in the middle.
fn middle_of(settings: &LineSettings, index: u64) -> u64 {
    index * settings.frames_per_part + settings.frames_per_part / 2
}

#[test]
fn a_frame_is_the_same_each_time_and_another_seed_differs() {
    let noisy = LineSettings {
        noise: 0.05,
        ..settings()
    };
    assert_eq!(render(&noisy, 71), render(&noisy, 71));
    assert_ne!(
        render(&noisy, 71).0,
        render(
            &LineSettings {
                seed: 8,
                ..noisy.clone()
            },
            71
        )
        .0
    );
    assert_ne!(render(&noisy, 71).0, render(&noisy, 72).0);
}

#[test]
fn a_part_moves_right_at_the_belts_speed() {
    let s = LineSettings {
        width: 640,
        defect_rate: 0.0,
        ..settings()
    };
    let x = |number| {
        render(&s, number)
            .1
            .iter()
            .find(|p| p.index == 3 && p.whole)
            .map(|p| p.bounds[0] as f64)
    };
    let (a, b) = (x(100).expect("visible"), x(110).expect("visible"));
    let step = SPACING * 240.0 / 30.0;
    assert!((b - a - 10.0 * step).abs() <= 1.0, "{a} {b}");
    // The belt comes along: at a whole number of pixels a frame its texture is the same, shifted.
    let s = LineSettings {
        width: 100,
        height: 200,
        frames_per_part: 35,
        ..s
    };
    let (first, second) = (render(&s, 35 * 5), render(&s, 35 * 5 + 1));
    let step = (SPACING * 100.0 / 35.0).round() as usize;
    assert_eq!(step, 3);
    let row = |image: &Image, x: usize| {
        image.plane(1)[180 * 100 + x] / image.plane(1)[180 * 100..181 * 100].iter().sum::<f32>()
    };
    let error: f32 = (20..70)
        .map(|x| (row(&first.0, x) - row(&second.0, x + step)).abs())
        .sum();
    let still: f32 = (20..70).map(|x| (row(&first.0, x) - row(&second.0, x)).abs()).sum();
    assert!(error < 0.5 * still, "{error} {still}");
}

#[test]
fn the_part_in_the_middle_is_whole_and_numbered_by_time() {
    for (width, height) in [(640, 480), (480, 480), (1280, 720), (100, 333), (16, 16)] {
        let s = LineSettings {
            width,
            height,
            ..settings()
        };
        for index in 0..6 {
            let (_, parts) = render(&s, middle_of(&s, index));
            let (part, [x, y, w, h]) = middle_part(&s, &parts).expect("a whole part");
            assert_eq!(part.index, index, "{width}x{height}");
            assert!(w == h && x + w <= width && y + h <= height);
            let [px, py, pw, ph] = part.bounds;
            assert!(
                x <= px && y <= py && x + w >= px + pw && y + h >= py + ph,
                "{part:?} {x} {y} {w}"
            );
        }
    }
}

#[test]
fn defects_are_where_the_truth_says_and_nowhere_else() {
    let with = LineSettings {
        defect_rate: 1.0,
        ..settings()
    };
    let without = LineSettings {
        defect_rate: 0.0,
        ..settings()
    };
    let mut seen = [0; 3];
    for index in 0..24 {
        let number = middle_of(&with, index);
        let ((bad, parts), (good, clean)) = (render(&with, number), render(&without, number));
        assert!(clean.iter().all(|part| part.defect.is_none()));
        let part = parts.iter().find(|p| p.index == index).expect("in the middle");
        let (kind, [x, y, w, h]) = part.defect.expect("every part has one");
        assert_eq!(defect_of(&with, index), Some(kind));
        seen[kind as usize] += 1;
        let [px, py, pw, ph] = part.bounds;
        let (mut strong, mut area) = (0, 0);
        for row in py..py + ph {
            for column in px..px + pw {
                let i = row * with.width + column;
                let change = (bad.plane(1)[i] - good.plane(1)[i]).abs();
                let near = column + 1 >= x && column < x + w + 1 && row + 1 >= y && row < y + h + 1;
                assert!(
                    near || change < 0.04,
                    "{kind:?} {change} at {column},{row} outside {x},{y},{w},{h}"
                );
                strong += usize::from(change > 0.15);
                area += usize::from(change > 0.04);
            }
        }
        let share = area as f64 / (pw * ph) as f64;
        assert!(
            strong >= 25 && (0.001..0.05).contains(&share),
            "part {index} {kind:?}: {strong} {share}"
        );
    }
    assert!(seen.iter().all(|&n| n >= 3), "{seen:?}");
}

#[test]
fn the_defect_rate_is_kept() {
    let s = LineSettings {
        defect_rate: 0.3,
        ..settings()
    };
    let count = (0..2000).filter(|&index| defect_of(&s, index).is_some()).count();
    assert!((530..670).contains(&count), "{count}");
}

#[test]
fn noise_is_white_and_has_its_standard_deviation() {
    let quiet = settings();
    let (clean, noisy) = (
        render(&quiet, 50).0,
        render(&LineSettings { noise: 0.02, ..quiet }, 50).0,
    );
    let noise: Vec<f64> = clean
        .data
        .iter()
        .zip(&noisy.data)
        .map(|(a, b)| f64::from(b - a))
        .collect();
    // The mean product with the value so far on.
    let product = |distance: usize| {
        let pairs = noise.iter().zip(&noise[distance..]);
        pairs.map(|(a, b)| a * b).sum::<f64>() / (noise.len() - distance) as f64
    };
    let sigma = product(0).sqrt();
    assert!((sigma - 0.02).abs() < 0.0005, "{sigma}");
    let [width, plane] = [clean.width, clean.width * clean.height];
    for distance in [1, 2, width, plane, plane + 1] {
        let correlation = product(distance) / product(0);
        assert!(
            correlation.abs() < 5.0 / (noise.len() as f64).sqrt(),
            "{distance}: {correlation}"
        );
    }
    let beyond = noise.iter().filter(|x| x.abs() > 3.0 * sigma).count() as f64 / noise.len() as f64;
    assert!(
        (0.0015..0.0035).contains(&beyond),
        "0.0027 of normal noise lies there: {beyond}"
    );
}

#[test]
fn any_size_and_number_is_drawn() {
    for (width, height) in [(1, 1), (1, 50), (50, 1), (17, 16), (4096, 16), (0, 5)] {
        for number in [0, 1, u64::MAX] {
            let s = LineSettings {
                width,
                height,
                frames_per_part: 0,
                noise: 0.3,
                ..settings()
            };
            let (image, parts) = render(&s, number);
            assert_eq!(image.data.len(), 3 * width * height);
            assert!(image.data.iter().all(|v| (0.0..=1.0).contains(v)));
            for part in parts {
                let [x, y, w, h] = part.bounds;
                assert!(w > 0 && h > 0 && x + w <= width && y + h <= height);
            }
        }
    }
}
