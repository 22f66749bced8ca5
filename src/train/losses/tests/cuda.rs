//! The same on a GPU. They need one: `cargo test --release --features cuda --lib -- --ignored cuda`.

use super::*;
use crate::exec::DeviceSpec;

/// A loss of an output against a target.
type Loss = fn(&Tensor, &Tensor) -> Result<Tensor>;

#[test]
#[ignore = "needs a GPU"]
fn every_loss_and_its_gradient_agree() {
    let gpu = DeviceSpec::Cuda(0).open().unwrap();
    let pictures: [(&str, Loss); 8] = [
        ("l1", |x, y| PictureLoss::L1.compute(x, y)),
        ("l2", |x, y| PictureLoss::L2.compute(x, y)),
        ("ssim", |x, y| PictureLoss::Ssim.compute(x, y)),
        ("msgms", |x, y| PictureLoss::Msgms.compute(x, y)),
        ("l2+ssim", |x, y| PictureLoss::L2Ssim.compute(x, y)),
        ("l2+gradient", |x, y| PictureLoss::L2Gradient.compute(x, y)),
        ("cross_entropy_dice", cross_entropy_dice),
        ("focal", focal),
    ];
    let rows: [(&str, Loss); 1] = [("cross_entropy", cross_entropy)];
    // Sides that differ: a kernel that takes one for the other is found out.
    let all = pictures
        .map(|(name, loss)| (name, loss, vec![2, 1, 24, 37]))
        .into_iter();
    for (name, loss, shape) in all.chain(rows.map(|(name, loss)| (name, loss, vec![4, 6]))) {
        let (output, target) = (random(31, &shape), random(32, &shape));
        let target: Vec<f32> = match name {
            "cross_entropy_dice" | "focal" => target.iter().map(|x| f32::from(*x > 0.6)).collect(),
            _ => target,
        };
        let [got, want] = [&gpu, &Device::Cpu].map(|device| {
            let on_device = |data: &[f32]| Tensor::from_slice(data, shape.as_slice(), device).unwrap();
            let output = Var::from_tensor(&on_device(&output)).unwrap();
            let value = loss(output.as_tensor(), &on_device(&target)).unwrap();
            let gradient = value.backward().unwrap().get(&output).unwrap().flatten_all().unwrap();
            (value.to_scalar::<f32>().unwrap(), gradient.to_vec1::<f32>().unwrap())
        });
        assert!(
            (got.0 - want.0).abs() < 1e-4 * want.0.abs(),
            "{name}: {} for {}",
            got.0,
            want.0
        );
        let largest = want.1.iter().fold(0f32, |a, g| a.max(g.abs()));
        for (i, (got, want)) in got.1.iter().zip(&want.1).enumerate() {
            assert!(
                (got - want).abs() < 2e-4 * largest,
                "{name} [{i}]: {got} for {want} of {largest}"
            );
        }
    }
}
