use super::*;
use crate::score::samples::{pictures, uniform};

fn assert_near(value: f64, expected: f64, tolerance: f64) {
    assert!((value - expected).abs() <= tolerance, "{value} is not {expected}");
}

/// skimage.metrics.peak_signal_noise_ratio(data_range=1).
#[test]
fn psnr_equals_scikit_image() {
    for ([channels, height, width], expected) in [([3, 13, 17], 21.9076512), ([1, 64, 48], 21.9422019)] {
        let (a, b) = pictures(channels, height, width);
        assert_near(psnr(&a, &b), expected, 1e-5);
    }
    let (a, _) = pictures(1, 3, 3);
    assert_eq!(psnr(&a, &a), f64::INFINITY);
    assert_near(
        psnr(&Image::filled(1, 2, 2, 0.5), &Image::filled(1, 2, 2, 0.6)),
        20.0,
        1e-5,
    );
}

/// skimage.metrics.structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1).
#[test]
fn ssim_equals_scikit_image() {
    let all = [
        ([3, 13, 17], 0.95310409),
        ([1, 64, 48], 0.94758597),
        ([1, 11, 11], 0.95530907),
    ];
    for ([channels, height, width], expected) in all {
        let (a, b) = pictures(channels, height, width);
        assert_near(ssim(&a, &b), expected, 1e-5);
        assert_near(ssim(&a, &a), 1.0, 1e-6);
    }
    let (a, b) = pictures(1, 1, 1);
    assert_near(ssim(&a, &b), 1.0 - 0.0010630, 1e-5); // as in the map, from scipy.ndimage
}

/// 200 scores of 16 levels, some shifted, so that many are tied, of either sign, over both kinds.
fn ranked() -> (Vec<f32>, Vec<bool>) {
    let positive: Vec<bool> = (1..=200).map(|i| uniform(i * 7 + 3) < 0.3).collect();
    let level = |i: usize| (uniform(i) * 16.0).floor() / 16.0 - 0.5;
    let scores = positive
        .iter()
        .zip(1..)
        .map(|(&p, i)| (level(i) + if p { 0.25 } else { 0.0 }) as f32)
        .collect();
    (scores, positive)
}

/// sklearn.metrics: roc_auc_score, average_precision_score, and the largest F1 of precision_recall_curve.
#[test]
fn ranking_equals_scikit_learn() {
    let (scores, positive) = ranked();
    assert_eq!(positive.iter().filter(|&&p| p).count(), 61);
    assert_near(auroc(&scores, &positive).unwrap(), 0.707689586, 1e-9);
    assert_near(average_precision(&scores, &positive).unwrap(), 0.578484165, 1e-9);
    let (f1, threshold) = f1_max(&scores, &positive).unwrap();
    assert_near(f1, 0.537444934, 1e-9);
    assert_eq!(threshold, -0.25);
}

#[test]
fn ranking_of_degenerate_scores() {
    let kinds = [true, false, false, true];
    assert_eq!(auroc(&[1.0; 4], &kinds), Some(0.5));
    assert_eq!(average_precision(&[1.0; 4], &kinds), Some(0.5));
    assert_eq!(f1_max(&[1.0; 4], &kinds), Some((2.0 / 3.0, 1.0)));
    assert_eq!(auroc(&[0.0, -0.0, -0.0, 0.0], &kinds), Some(0.5), "zeros are equal");
    assert_eq!(
        auroc(&[f32::NAN, 1.0, f32::NEG_INFINITY, f32::INFINITY], &kinds),
        Some(1.0),
        "NaN is the largest"
    );
    assert_eq!(
        auroc(&[0.0, -f32::NAN, f32::INFINITY, 1.0], &kinds),
        Some(0.0),
        "so is -NaN"
    );
    for kind in [true, false] {
        assert_eq!(auroc(&[0.0, 1.0], &[kind; 2]), None);
        assert_eq!(average_precision(&[0.0, 1.0], &[kind; 2]), None);
        assert_eq!(f1_max(&[0.0, 1.0], &[kind; 2]), None);
    }
    assert_eq!(auroc(&[], &[]), None);
}

/// Three maps of 16x20 in 64 levels, raised in four defects: one joined by a corner, one of a pixel, a full row.
fn defects() -> (Vec<Image>, Vec<Image>) {
    let defective = |n: usize, x: usize, y: usize| match n {
        0 => ((2..6).contains(&y) && (3..9).contains(&x)) || (x, y) == (9, 6) || ((12..14).contains(&y) && x >= 15),
        1 => (x, y) == (0, 0) || y == 15,
        _ => false,
    };
    let picture = |n: usize, value: &dyn Fn(usize, bool) -> f64| {
        let data = (0..320)
            .map(|i| value(n * 320 + i + 1, defective(n, i % 20, i / 20)) as f32)
            .collect();
        Image {
            channels: 1,
            height: 16,
            width: 20,
            data,
        }
    };
    let raised = |i: usize, defect: bool| (uniform(i) * 64.0).floor() / 64.0 * 0.8 + if defect { 0.3 } else { 0.0 };
    let maps = (0..3).map(|n| picture(n, &raised)).collect();
    let masks = (0..3)
        .map(|n| picture(n, &|_, defect| f64::from(u8::from(defect))))
        .collect();
    (maps, masks)
}

/// Regions by skimage.measure.label, overlap and false-positive rate counted at every threshold, numpy.trapezoid.
#[test]
fn aupro_equals_counting_at_every_threshold() {
    let (maps, masks) = defects();
    assert_near(aupro(&maps, &masks, 0.3).unwrap(), 0.410313422, 1e-9);
    assert_near(aupro(&maps, &masks, 0.05).unwrap(), 0.261442478, 1e-9);
    assert_near(aupro(&maps, &masks, 1.0).unwrap(), 0.775430033, 1e-9);
}

#[test]
fn aupro_of_degenerate_maps() {
    let (maps, masks) = defects();
    let perfect: f64 = aupro(&masks, &masks, 0.3).unwrap();
    assert_near(perfect, 1.0, 1e-12);
    // One step from (0, 0) to (1, 1): the line, whose area up to 0.3 is half of 0.3.
    let constant = vec![Image::filled(1, 16, 20, 0.7); 3];
    assert_near(aupro(&constant, &masks, 0.3).unwrap(), 0.15, 1e-12);
    assert_eq!(aupro(&maps[2..], &masks[2..], 0.3), None, "no defect");
    assert_eq!(
        aupro(&constant[..1], &[Image::filled(1, 16, 20, 1.0)], 0.3),
        None,
        "no normal pixel"
    );
    assert_eq!(aupro(&maps, &masks, 0.0), None);
    assert_eq!(aupro(&maps, &masks, f64::NAN), None);
    assert_eq!(aupro(&[], &[], 0.3), None);
}

#[test]
fn labels_are_counted() {
    let (truth, predicted) = ([0, 1, 2, 2, 1, 0], [0, 2, 2, 2, 0, 0]);
    // sklearn.metrics.confusion_matrix.
    assert_eq!(confusion(&truth, &predicted, 3), [[2, 0, 0], [1, 0, 1], [0, 0, 2]]);
    assert_near(accuracy(&truth, &predicted), 4.0 / 6.0, 1e-15);
    assert_eq!((accuracy(&[], &[]), confusion(&[], &[], 0)), (0.0, vec![]));
}

/// numpy: 15 bins, each open below and closed above.
#[test]
fn calibration_error_equals_numpy() {
    let mut confidence: Vec<f32> = (1..=100).map(|i| (0.2 + 0.8 * uniform(i)) as f32).collect();
    (confidence[0], confidence[1]) = (1.0, 0.4);
    let correct: Vec<bool> = confidence
        .iter()
        .zip(1..)
        .map(|(&c, i): (_, usize)| uniform(i * 5 + 1) < f64::from(c))
        .collect();
    assert_near(expected_calibration_error(&confidence, &correct), 0.228046410, 1e-8);
    assert_eq!(expected_calibration_error(&[], &[]), 0.0);
    assert_eq!(expected_calibration_error(&[0.0, 1.0], &[false, true]), 0.0);
}
