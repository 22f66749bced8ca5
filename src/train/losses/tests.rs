#[cfg(feature = "cuda")]
mod cuda;

use super::*;
use candle_core::Var;
use rand::RngExt;

fn random(seed: u64, shape: &[usize]) -> Vec<f32> {
    let mut rng = crate::data::random::stream(seed, 0, 0);
    (0..shape.iter().product())
        .map(|_| rng.random_range(0.1f32..0.9))
        .collect()
}

fn tensor(data: &[f32], shape: &[usize]) -> Tensor {
    Tensor::from_slice(data, shape, &Device::Cpu).unwrap()
}

/// The gradient by autograd against central differences at a few places.
fn check_gradient(loss: impl Fn(&Tensor) -> Result<Tensor>, shape: &[usize], seed: u64) {
    let data = random(seed, shape);
    let var = Var::from_tensor(&tensor(&data, shape)).unwrap();
    let gradients = loss(var.as_tensor()).unwrap().backward().unwrap();
    let gradient: Vec<f32> = gradients.get(&var).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let largest = gradient.iter().fold(0f32, |a, g| a.max(g.abs()));
    for i in (0..data.len()).step_by(data.len() / 17 + 1) {
        let at = |delta: f32| {
            let mut moved = data.clone();
            moved[i] += delta;
            loss(&tensor(&moved, shape)).unwrap().to_scalar::<f32>().unwrap()
        };
        let expected = (at(1e-2) - at(-1e-2)) / 2e-2;
        assert!(
            (gradient[i] - expected).abs() < 0.05 * largest + 2e-4,
            "seed {seed}, element {i}: {} by autograd, {expected} by differences",
            gradient[i]
        );
    }
}

#[test]
fn ssim_matches_the_definition() {
    let shape = [2, 1, 14, 13];
    let (a, b) = (random(1, &shape), random(2, &shape));
    let mut sum = 0.0;
    let taps: Vec<f64> = (0..11).map(|i| (-(f64::from(i) - 5.0).powi(2) / 4.5).exp()).collect();
    let norm: f64 = taps.iter().sum::<f64>().powi(2);
    for (n, y, x) in (0..2).flat_map(|n| (0..4).flat_map(move |y| (0..3).map(move |x| (n, y, x)))) {
        let mut s = [0.0f64; 5];
        for (i, j) in (0..11).flat_map(|i| (0..11).map(move |j| (i, j))) {
            let at = n * 14 * 13 + (y + i) * 13 + x + j;
            let (p, q, g) = (f64::from(a[at]), f64::from(b[at]), taps[i] * taps[j] / norm);
            for (s, v) in s.iter_mut().zip([p, q, p * p, q * q, p * q]) {
                *s += g * v;
            }
        }
        let (ma, mb, va, vb, cov) = (s[0], s[1], s[2] - s[0] * s[0], s[3] - s[1] * s[1], s[4] - s[0] * s[1]);
        sum += (2.0 * ma * mb + 1e-4) * (2.0 * cov + 9e-4) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4));
    }
    let found = ssim(&tensor(&a, &shape), &tensor(&b, &shape))
        .unwrap()
        .to_scalar::<f32>()
        .unwrap();
    assert!((f64::from(found) - sum / 24.0).abs() < 1e-5, "{found} {}", sum / 24.0);
    assert!(
        ssim(
            &tensor(&a, &[2, 1, 13, 14]).narrow(2, 0, 10).unwrap(),
            &tensor(&b, &shape)
        )
        .is_err()
    );
}

#[test]
fn ssim_by_kernels_and_by_tensors_is_the_same() {
    let shape = [2, 3, 33, 29];
    let target = tensor(&random(21, &shape), &shape);
    let picture = Var::from_tensor(&tensor(&random(22, &shape), &shape)).unwrap();
    let [ours, theirs] = [ssim, ssim_by_tensors].map(|ssim| {
        let mean = (ssim(picture.as_tensor(), &target).unwrap() * 1e3).unwrap();
        let gradient = mean.backward().unwrap().get(&picture).unwrap().flatten_all().unwrap();
        (mean.to_scalar::<f32>().unwrap(), gradient.to_vec1::<f32>().unwrap())
    });
    assert!((ours.0 - theirs.0).abs() < 1e-4 * theirs.0, "{} {}", ours.0, theirs.0);
    let largest = theirs.1.iter().fold(0f32, |a, g| a.max(g.abs()));
    for (ours, theirs) in ours.1.iter().zip(&theirs.1) {
        assert!((ours - theirs).abs() < 1e-4 * largest, "{ours} {theirs} of {largest}");
    }
}

#[test]
fn equal_pictures_cost_nothing() {
    let shape = [1, 3, 16, 12];
    let a = tensor(&random(3, &shape), &shape);
    let all = [
        PictureLoss::L1,
        PictureLoss::L2,
        PictureLoss::Ssim,
        PictureLoss::Msgms,
        PictureLoss::L2Ssim,
        PictureLoss::L2Gradient,
    ];
    for loss in all {
        let value = loss.compute(&a, &a).unwrap().to_scalar::<f32>().unwrap();
        assert!(value.abs() < 1e-5, "{} {value}", loss.name());
    }
}

#[test]
fn picture_gradients_match_finite_differences() {
    let shape = [2, 2, 15, 13];
    let target = tensor(&random(4, &shape), &shape);
    for (i, loss) in [PictureLoss::L2, PictureLoss::Ssim, PictureLoss::Msgms]
        .into_iter()
        .enumerate()
    {
        check_gradient(|x| Ok((loss.compute(x, &target)? * 100.0)?), &shape, 5 + i as u64);
    }
}

#[test]
fn gradients_that_differ_cost_as_much() {
    let [output, target] = [[0.0, 1.0, 0.0, 1.0], [0.0, 0.5, 0.0, 0.5]].map(|values| tensor(&values, &[1, 1, 2, 2]));
    // Squares of 0 and 0.5, and along the rows a step of 1 for one of 0.5.
    let found = PictureLoss::L2Gradient.compute(&output, &target).unwrap();
    assert_eq!(found.to_scalar::<f32>().unwrap(), 0.125 + 0.5);
    // Away from equal neighbours it has the gradient that differences say.
    let slope = Var::from_tensor(&tensor(&[0.0, 1.0, 0.25, 1.5], &[1, 1, 2, 2])).unwrap();
    let loss = PictureLoss::L2Gradient.compute(slope.as_tensor(), &target).unwrap();
    let gradients = loss.backward().unwrap();
    let gradient: Vec<f32> = gradients.get(&slope).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    // Of the squares 0, 0.25, 0.125 and 0.5, of the rows' steps ∓ 0.5, of the columns' ∓ 0.5.
    assert_eq!(gradient, [-1.0, 0.25, 0.125, 1.5]);
}

#[test]
fn msgms_of_a_ramp_and_a_flat_picture() {
    // Gradient magnitude 0.1 against 0 at every place; the ramp keeps 0.2 a pixel at half resolution.
    let ramp: Vec<f32> = (0..64).map(|i| 0.1 * (i % 8) as f32).collect();
    let found = msgms(&tensor(&ramp, &[1, 1, 8, 8]), &tensor(&[0.5; 64], &[1, 1, 8, 8])).unwrap();
    let gms = |g: f64| GMS_C / (g * g + GMS_C);
    // Prewitt's taps are two pixels apart.
    let expected = (gms(0.2) + gms(0.4)) / 2.0;
    assert!(
        (f64::from(found.to_scalar::<f32>().unwrap()) - expected).abs() < 2e-3,
        "{found} {expected}"
    );
}

#[test]
fn cross_entropy_and_dice_are_the_known_ones_and_so_is_the_gradient() {
    let shape = [1, 1, 1, 2];
    let logits = |probabilities: [f32; 2]| tensor(&probabilities.map(|p| (p / (1.0 - p)).ln()), &shape);
    // -(ln 0.8 + ln 0.7) / 2, and 1 - (2 · 0.8 + 16) / (0.8 + 0.3 + 1 + 16).
    let found = cross_entropy_dice(&logits([0.8, 0.3]), &tensor(&[1.0, 0.0], &shape)).unwrap();
    let expected = (0.223_143_55 + 0.356_674_94) / 2.0 + 1.0 - 17.6 / 18.1;
    let found = found.to_scalar::<f32>().unwrap();
    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    // What is wholly wrong stays finite.
    let wrong = cross_entropy_dice(&tensor(&[-200.0, 200.0], &shape), &tensor(&[1.0, 0.0], &shape)).unwrap();
    let wrong = wrong.to_scalar::<f32>().unwrap();
    assert!((wrong - 13.93).abs() < 0.1, "{wrong}");
    // Of two pictures each has its own coefficient.
    let two = |values: [f32; 2]| tensor(&values.map(|p| (p / (1.0 - p)).ln()), &[2, 1, 1, 1]);
    let found = cross_entropy_dice(&two([0.8, 0.3]), &tensor(&[1.0, 0.0], &[2, 1, 1, 1])).unwrap();
    let expected = (0.223_143_55 + 0.356_674_94) / 2.0 + 1.0 - (17.6 / 17.8 + 16.0 / 16.3) / 2.0;
    assert!(
        (found.to_scalar::<f32>().unwrap() - expected).abs() < 1e-5,
        "{found} {expected}"
    );

    let wide = [2, 1, 4, 5];
    let mask: Vec<f32> = random(10, &wide).iter().map(|&v| f32::from(v > 0.6)).collect();
    let mask = tensor(&mask, &wide);
    check_gradient(|x| Ok((cross_entropy_dice(x, &mask)? * 10.0)?), &wide, 11);
    check_gradient(|x| Ok((focal(x, &mask)? * 10.0)?), &wide, 12);
    // -(0.2² ln 0.8 + 0.3² ln 0.7) / 2.
    let found = focal(&logits([0.8, 0.3]), &tensor(&[1.0, 0.0], &[1, 1, 1, 2])).unwrap();
    assert!((found.to_scalar::<f32>().unwrap() - 0.020_513).abs() < 1e-5, "{found}");
}

#[test]
fn cross_entropy_matches_the_formula_and_its_gradient() {
    let logits = [1.0f32, 2.0, 0.5, -1.0, 30.0, 0.0];
    let targets = [smooth_targets(1, 3, 0.1), smooth_targets(0, 3, 0.1)].concat();
    assert!((targets[1] - (0.9 + 0.1 / 3.0)).abs() < 1e-6);
    let mut expected = 0.0;
    for row in 0..2 {
        let row_logits = &logits[3 * row..3 * row + 3];
        let sum: f64 = row_logits.iter().map(|&x| f64::from(x).exp()).sum();
        for k in 0..3 {
            expected -= f64::from(targets[3 * row + k]) * (f64::from(row_logits[k]) - sum.ln()) / 2.0;
        }
    }
    let targets = tensor(&targets, &[2, 3]);
    let found = cross_entropy(&tensor(&logits, &[2, 3]), &targets)
        .unwrap()
        .to_scalar::<f32>()
        .unwrap();
    assert!((f64::from(found) - expected).abs() < 1e-4, "{found} {expected}");
    check_gradient(|x| cross_entropy(x, &targets), &[2, 3], 9);
}

#[test]
fn of_two_classes_the_loss_is_that_of_a_mask_and_what_nobody_judged_does_not_count() {
    // The logarithms of the second class's odds, against 0 for the first; nobody knows of the third pixel.
    let odds = [0.8f32, 0.3, 0.6].map(|p| (p / (1.0 - p)).ln());
    let logits = tensor(&[[0.0; 3], odds].concat(), &[1, 2, 1, 3]);
    let targets = tensor(&[0.0, 1.0, 0.0, 1.0, 0.0, 0.0], &[1, 2, 1, 3]);
    let value = |loss: Result<Tensor>| loss.unwrap().to_scalar::<f32>().unwrap();
    let found = value(cross_entropy_dice_of_classes(&logits, &targets, 1));
    let known = tensor(&odds[..2], &[1, 1, 1, 2]);
    let expected = value(cross_entropy_dice(&known, &tensor(&[1.0, 0.0], &[1, 1, 1, 2])));
    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    // With both classes in the coefficient: the first's is (2 · 0.7 + 16) / (0.2 + 0.7 + 1 + 16).
    let both = value(cross_entropy_dice_of_classes(&logits, &targets, 0));
    let first = 1.0 - 17.4 / 17.9;
    let second = 1.0 - 17.6 / 18.1;
    assert!(
        (both - (expected - second + (first + second) / 2.0)).abs() < 1e-5,
        "{both}"
    );
    let nothing = tensor(&[0.0; 6], &[1, 2, 1, 3]);
    assert_eq!(value(cross_entropy_dice_of_classes(&logits, &nothing, 0)), 0.0);

    let shape = [2, 3, 4, 5];
    let mut planes = vec![0.0; 120];
    for (i, value) in random(13, &[40]).into_iter().enumerate() {
        let class = (value * 5.0) as usize;
        if class < 3 {
            planes[(i / 20 * 3 + class) * 20 + i % 20] = 1.0;
        }
    }
    let targets = tensor(&planes, &shape);
    check_gradient(
        |x| Ok((cross_entropy_dice_of_classes(x, &targets, 1)? * 10.0)?),
        &shape,
        14,
    );
}
