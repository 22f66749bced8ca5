use rand::RngExt;
use rand_distr::{Distribution, Exp1, StandardNormal};

use super::tail::{Tail, moments};
use super::*;
use crate::Error;
use crate::data::random::stream;
use crate::model::{AnomalyCalibration, MapKind, Scoring};
use crate::score::samples::uniform;

fn calibrate(scores: &[f32], rate: f64) -> AnomalyCalibration {
    anomaly(scores, rate, of(MapKind::Msgms)).unwrap()
}

fn of(map: MapKind) -> Scoring {
    #[rustfmt::skip]
    return Scoring { map, smooth: 21, pool: 3, context: 1 };
}

fn draw(distribution: impl Distribution<f32>, count: usize, seed: u64) -> Vec<f32> {
    stream(seed, 0, 0).sample_iter(distribution).take(count).collect()
}

/// scipy.stats.lmoment(order=[1, 2], standardize=False): shape 2 - l1 / l2, scale l1 · (l1 / l2 - 1).
#[test]
fn tail_fit_equals_scipy() {
    let mut excesses: Vec<f64> = (1..=60).map(|i| (-(1.0 - uniform(i)).ln()).powf(1.3)).collect();
    excesses.sort_by(f64::total_cmp);
    let (shape, scale) = moments(&excesses);
    assert!(
        (shape - 0.334470557).abs() < 1e-8 && (scale - 0.769219846).abs() < 1e-8,
        "{shape} {scale}"
    );
}

/// scipy.stats.genpareto(c, scale=1.5).isf(0.01) and scipy.stats.expon(scale=1.5).isf(0.01).
#[test]
fn tail_quantile_equals_scipy() {
    for (shape, expected) in [(0.2, 11.33914823631), (-0.3, 3.744056784245), (0.0, 6.907755278982)] {
        let tail = Tail {
            start: 2.0,
            share: 0.1,
            shape,
            scale: 1.5,
        };
        assert!(
            (tail.threshold(0.001) - 2.0 - expected).abs() < 1e-9,
            "shape {shape}: {}",
            tail.threshold(0.001)
        );
    }
}

/// The mean rate at which fresh scores reach the threshold, over 100 calibrations from 400 scores each.
fn mean_rate<D: Distribution<f32> + Copy>(distribution: D, rate: f64) -> f64 {
    let mut fresh = draw(distribution, 200_000, 1_000);
    fresh.sort_by(f32::total_cmp);
    let flagged = |threshold: f32| fresh.len() - fresh.partition_point(|&score| score < threshold);
    let total: usize = (0..100)
        .map(|seed| flagged(calibrate(&draw(distribution, 400, seed), rate).threshold))
        .sum();
    total as f64 / (100 * fresh.len()) as f64
}

#[test]
fn fresh_good_frames_are_flagged_at_the_rate_asked_for() {
    for (rate, factor) in [(0.1, 1.1), (0.01, 1.25), (0.001, 2.0)] {
        for (name, got) in [
            ("exponential", mean_rate(Exp1, rate)),
            ("normal", mean_rate(StandardNormal, rate)),
        ] {
            assert!(
                got < rate * factor && got > rate / factor,
                "{name} at {rate}: {got}, streams 0..100 and 1000"
            );
        }
    }
}

#[test]
fn thresholds_are_order_statistics_within_one_in_n_and_above_all_scores_beyond() {
    // 99 scores: at rate k/100 the threshold is the k-th largest, and k of 99 reach it.
    let scores: Vec<f32> = (1..=99).rev().map(|i| i as f32).collect();
    for (rate, expected) in [(0.5, 50.0), (0.2, 80.0), (0.02, 98.0)] {
        assert!((calibrate(&scores, rate).threshold - expected).abs() < 1e-4);
    }
    let rare = calibrate(&scores, 0.003);
    assert!(rare.threshold > 99.0 && rare.threshold < 150.0, "{}", rare.threshold);
    assert_eq!(rare.pixel_threshold, rare.threshold);
    assert_eq!(
        (rare.map, rare.smooth, rare.pool, rare.frames),
        (MapKind::Msgms, 21, 3, 99)
    );
}

/// Logits of fresh good frames are normal, and so are those of defects, which a threshold must not put out of reach.
#[test]
fn thresholds_of_probabilities_stay_below_one_and_hold_their_rate() {
    let probability = |logit: f32| 1.0 / (1.0 + (-logit).exp());
    let draw = |count, seed| -> Vec<f32> {
        let logits = draw(StandardNormal, count, seed).into_iter();
        logits.map(|logit| probability(2.0 * logit - 1.0)).collect()
    };
    let fresh = draw(200_000, 1_000);
    for rate in [0.01, 0.001] {
        let mut flagged = 0;
        for seed in 0..100 {
            let calibration = anomaly(&draw(72, seed), rate, of(MapKind::Direct)).unwrap();
            assert!(
                calibration.rates.iter().all(|row| row[1] < 1.0),
                "{:?}",
                calibration.rates
            );
            flagged += fresh.iter().filter(|&&score| score >= calibration.threshold).count();
        }
        let mean = flagged as f64 / (100 * fresh.len()) as f64;
        assert!(
            mean < 2.0 * rate && mean > rate / 2.0,
            "{mean} at {rate}, streams 0..100 and 1000"
        );
    }
}

#[test]
fn probabilities_near_one_leave_a_threshold_that_can_be_reached() {
    let mut spread: Vec<f32> = (0..20).map(|i| i as f32 / 20.0).collect();
    spread.push(0.999_999);
    for scores in [vec![0.995; 9], spread] {
        let calibration = anomaly(&scores, 0.001, of(MapKind::Direct)).unwrap();
        assert!(
            calibration.rates.iter().all(|row| row[1] < 1.0),
            "{:?}",
            calibration.rates
        );
    }
    let saturated = anomaly(&[0.2, 0.4, 0.6, 0.8, 1.000_000_1], 0.01, of(MapKind::Direct)).unwrap();
    assert!(
        saturated.threshold > 1.0 && saturated.threshold < 1.001,
        "{}",
        saturated.threshold
    );
}

#[test]
fn tables_are_monotone_and_hold_the_rate_asked_for() {
    let sets = [
        draw(Exp1, 5, 1),
        draw(StandardNormal, 50, 2),
        (0..1000).map(|i| uniform(i) as f32).collect(),
        vec![0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3, 0.5],
        vec![-1.0, -1.0, -1.0, -1.0, -1.0],
    ];
    for (scores, rate) in sets
        .iter()
        .flat_map(|scores| [(scores, 0.003), (scores, f64::from(0.01_f32))])
    {
        let calibration = calibrate(scores, rate);
        let rows = &calibration.rates;
        assert!(rows.is_sorted_by(|a, b| a[0] > b[0] && a[1] <= b[1]), "{rows:?}");
        assert!(rows.iter().all(|row| row[1].is_finite()) && rows.iter().any(|row| row[0] == rate as f32));
        assert_eq!(calibration.threshold_for(rate), calibration.threshold);
        let quantiles = &calibration.quantiles;
        assert!(
            quantiles.is_sorted_by(|a, b| a[0] < b[0] && a[1] <= b[1]),
            "{quantiles:?}"
        );
    }
}

/// numpy.quantile.
#[test]
fn quantiles_equal_numpy() {
    let calibration = calibrate(&[0.7, 0.1, 3.0, 0.4, 0.2, 1.5], 0.1);
    let at = |q: f32| calibration.quantiles.iter().find(|row| row[0] == q).unwrap()[1];
    for (q, expected) in [
        (0.0, 0.1),
        (0.01, 0.105),
        (0.5, 0.55),
        (0.9, 2.25),
        (0.995, 2.9625),
        (1.0, 3.0),
    ] {
        assert!((at(q) - expected).abs() < 1e-6, "{q}: {}", at(q));
    }
}

#[test]
fn equal_scores_do_not_alarm() {
    for value in [0.0, 0.25, -3.0] {
        let calibration = calibrate(&[value; 20], 0.5);
        assert!(
            calibration
                .rates
                .iter()
                .all(|row| row[1] > value && row[1] < value + 0.1),
            "{:?}",
            calibration.rates
        );
    }
    // Nine of ten at 0.3: flagging those at 0.3 would flag nine times too many.
    let mut tied = vec![0.3; 9];
    tied.push(0.5);
    let threshold = calibrate(&tied, 0.2).threshold;
    assert!(threshold > 0.3 && threshold <= 0.5, "{threshold}");
}

#[test]
fn thresholds_between_rates_are_log_interpolated() {
    let mut calibration = calibrate(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.1);
    calibration.rates = vec![[0.1, 1.0], [0.01, 3.0], [0.001, 4.0]];
    for (rate, expected) in [
        (0.5, 1.0),
        (0.1, 1.0),
        (0.1_f64.powf(1.5), 2.0),
        (0.01, 3.0),
        (0.001, 4.0),
        (0.0, 4.0),
    ] {
        assert!(
            (calibration.threshold_for(rate) - expected).abs() < 1e-5,
            "{rate}: {}",
            calibration.threshold_for(rate)
        );
    }
    assert_eq!(calibration.threshold_for(f64::NAN), calibration.threshold);
    calibration.rates.clear();
    assert_eq!(calibration.threshold_for(0.01), calibration.threshold);
}

#[test]
fn scores_and_rates_out_of_range_are_refused() {
    let good = [0.1, 0.2, 0.3, 0.4, 0.5];
    let refused = |scores: &[f32], rate: f64| match anomaly(scores, rate, of(MapKind::Ssim)) {
        Err(Error::Invalid(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert!(refused(&good[1..], 0.1).contains("4 good frames"));
    assert!(refused(&[], 0.1).contains("0 good frames"));
    assert!(refused(&[0.1, 0.2, f32::NAN, 0.4, 0.5], 0.1).contains("good frame 2"));
    for rate in [0.0, 1.0, -0.1, f64::NAN, 1e-60] {
        assert!(refused(&good, rate).contains("rate"), "{rate}");
    }
}

/// 120 samples of 3 classes, their logits three times too large.
fn logits() -> (Vec<Vec<f32>>, Vec<usize>) {
    let logit = |i: usize, class: usize| {
        let true_class = if i % 3 == class { 2.5 } else { 0.0 };
        (4.0 * uniform(i * 3 + class) + true_class) as f32 * 3.0
    };
    (1..=120)
        .map(|i| ((0..3).map(|class| logit(i, class)).collect::<Vec<_>>(), i % 3))
        .unzip()
}

/// scipy.optimize.minimize_scalar on the log-likelihood by scipy.special.log_softmax; numpy.quantile of the rightly
/// classified ones. The last class's 0.911 is cut to half-way between chance and certainty.
#[test]
fn temperature_and_thresholds_equal_scipy() {
    let (logits, labels) = logits();
    let calibration = classify(&logits, &labels, 0.02).unwrap();
    assert!(
        (calibration.temperature - 1.2514833).abs() < 1e-5,
        "{}",
        calibration.temperature
    );
    for (threshold, expected) in calibration.thresholds.iter().zip([0.510361, 0.491969, 2.0 / 3.0]) {
        assert!((threshold - expected).abs() < 1e-5, "{:?}", calibration.thresholds);
    }
}

#[test]
fn temperature_stays_in_bounds() {
    let all_right = classify(&[vec![9.0, 0.0], vec![0.0, 9.0]], &[0, 1], 0.02).unwrap();
    assert!((all_right.temperature - 1.0).abs() < 1e-5, "{}", all_right.temperature);
    assert_eq!(all_right.thresholds, [0.75, 0.75]);
    let all_wrong = classify(&[vec![9.0, 0.0], vec![0.0, 9.0]], &[1, 0], 0.02).unwrap();
    assert!((all_wrong.temperature - 20.0).abs() < 1e-3, "{}", all_wrong.temperature);
    assert_eq!(all_wrong.thresholds, [0.5, 0.5]);
    let one_class = classify(&[vec![3.0]], &[0], 0.02).unwrap();
    assert_eq!(one_class.thresholds, [1.0]);
}

#[test]
fn logits_that_do_not_fit_are_refused() {
    let one = vec![1.0, 2.0];
    let all: [(&[Vec<f32>], &[usize]); 5] = [
        (&[], &[]),
        (std::slice::from_ref(&one), &[0, 1]),
        (std::slice::from_ref(&one), &[2]),
        (&[one.clone(), vec![1.0]], &[0, 0]),
        (&[vec![1.0, f32::INFINITY]], &[0]),
    ];
    for (logits, labels) in all {
        assert!(
            matches!(classify(logits, labels, 0.02), Err(Error::Invalid(_))),
            "{logits:?} {labels:?}"
        );
    }
}

/// scipy.special.softmax.
#[test]
fn probabilities_equal_scipy() {
    let close = |got: Vec<f32>| {
        got.iter()
            .zip([0.1402444, 0.2312239, 0.6285317])
            .all(|(a, b)| (a - b).abs() < 1e-6)
    };
    assert!(close(probabilities(&[1.0, 2.0, 4.0], 2.0)));
    assert!(
        close(probabilities(&[100_001.0, 100_002.0, 100_004.0], 2.0)),
        "large logits do not overflow"
    );
    assert_eq!(probabilities(&[], 1.0), [0.0; 0]);
}
