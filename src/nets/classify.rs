//! Classifiers: one logit a class. Softmax and temperature come after the network.

use super::{Checked, Net, fixed_size};
use crate::Result;
use crate::graph::{Builder, Op, Weights};
use crate::model::{Color, Normalization};

const HALVE: Op = Op::MaxPool {
    kernel: 2,
    stride: 2,
    padding: 0,
};

/// Four levels of 16, 32, 64 and 128 channels, two conv-BN-ReLU and a max-pool each, then the mean of each plane and
/// a linear layer. `width` is the first level's; further levels double up to eight times that.
pub(super) fn tiny(o: &Checked) -> Result<Net> {
    o.without(&["code size"])?;
    let (width, depth, classes) = (o.width(16)?, o.depth(4, 1..=6)?, o.classes()?);
    let (size, color) = (o.size(64, 1 << depth)?, o.color());
    let mut b = Builder::new();
    let mut x = b.input("input", color.channels());
    for level in 0..depth {
        for i in 0..2 {
            x = b.conv(format!("conv{level}.{i}"), &x, width << level.min(3), 3, false);
            x = b.batch_norm(format!("norm{level}.{i}"), &x);
            x = b.node(format!("relu{level}.{i}"), Op::Relu, &[&x]);
        }
        x = b.node(format!("pool{level}"), HALVE, &[&x]);
    }
    x = b.node("mean", Op::GlobalAvgPool, &[&x]);
    x = b.node("flatten", Op::Flatten, &[&x]);
    x = b.linear("output", &x, classes);
    let input = fixed_size(color, size, 1 << depth, centred(color));
    Ok(Net {
        graph: b.finish(&[&x]),
        input,
        given: Weights::new(),
    })
}

/// LeNet-5 (LeCun 1998) with ReLU and max-pool: 32x32 pictures as published, others by `size`.
pub(super) fn lenet(o: &Checked) -> Result<Net> {
    o.without(&["code size", "width", "depth"])?;
    let (classes, size, color) = (o.classes()?, o.size(32, 4)?, o.color());
    if size.iter().any(|&side| !(16..=512).contains(&side)) {
        return Err(o.invalid(format!("size {}x{} is not in 16..=512", size[0], size[1])));
    }
    let mut b = Builder::new();
    let mut x = b.input("input", color.channels());
    for (i, channels) in [(1, 6), (2, 16)] {
        x = b.strided_conv(format!("conv{i}"), &x, channels, [5, 1, 0], true);
        x = b.node(format!("relu{i}"), Op::Relu, &[&x]);
        x = b.node(format!("pool{i}"), HALVE, &[&x]);
    }
    x = b.node("flatten", Op::Flatten, &[&x]);
    for (i, features) in [(3, 120), (4, 84)] {
        x = b.linear(format!("linear{i}"), &x, features);
        x = b.node(format!("relu{i}"), Op::Relu, &[&x]);
    }
    x = b.linear("output", &x, classes);
    Ok(Net {
        graph: b.finish(&[&x]),
        input: fixed_size(color, size, 4, centred(color)),
        given: Weights::new(),
    })
}

/// 0..1 to -1..1.
fn centred(color: Color) -> Normalization {
    Normalization::Fixed {
        mean: vec![0.5; color.channels()],
        std: vec![0.5; color.channels()],
    }
}
