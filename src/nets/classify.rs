//! Classifiers: one logit a class. Softmax and temperature come after the network.

use super::blocks::{conv_norm, conv_norm_relu, residual_encoder};
use super::{Checked, Net, fixed_size};
use crate::Result;
use crate::graph::{Builder, Op, Weights};
use crate::model::{Color, InputSpec, Normalization};

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
    Ok(finish(b, &x, classes, centred(color, size, 1 << depth)))
}

/// The way down of the `unet` that detects and segments, of pictures normalised by their own mean and deviation, then the mean of each plane and
/// a linear layer: of the same width and depth it can begin with the weights of such a model.
pub(super) fn encoder(o: &Checked) -> Result<Net> {
    o.without(&["code size"])?;
    let (width, depth, classes) = (o.width(16)?, o.depth(4, 1..=6)?, o.classes()?);
    let (size, color) = (o.size(96, 1 << depth)?, o.color());
    let mut b = Builder::new();
    let input = b.input("input", color.channels());
    let cells = b.node("unshuffle", Op::PixelUnshuffle { factor: 2 }, &[&input]);
    let levels = residual_encoder(&mut b, &cells, width, depth);
    let x = levels.last().expect("the depth is 1 at least");
    let input = fixed_size(color, size, 1 << depth, Normalization::PerFrame);
    Ok(finish(b, x, classes, input))
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
        input: centred(color, size, 4),
        given: Weights::new(),
    })
}

/// GoogLeNet's blocks (Szegedy 2015) with batch norm, for small pictures: after a 3x3 convolution three levels of two blocks, of 2, 4 and
/// 8 `width` channels, each level at half the size of the one before.
pub(super) fn inception(o: &Checked) -> Result<Net> {
    o.without(&["code size", "depth"])?;
    let (width, classes) = (o.width(32)?, o.classes()?);
    let (size, color) = (o.size(32, 4)?, o.color());
    let mut b = Builder::new();
    let x = b.input("input", color.channels());
    let mut x = conv_norm_relu(&mut b, "stem", &x, [width, 3, 1]);
    for level in 0..3 {
        if level > 0 {
            x = b.node(format!("pool{level}"), WIDE_HALVE, &[&x]);
        }
        for i in 0..2 {
            x = inception_block(&mut b, &format!("block{level}.{i}"), &x, (2 * width) << level);
        }
    }
    Ok(finish(b, &x, classes, centred(color, size, 4)))
}

/// `channels` seen four ways: half of them by 3x3 convolutions, a quarter by 1x1, an eighth each by 5x5 and after a max-pool; before the
/// larger ones 1x1 convolutions make fewer channels.
fn inception_block(b: &mut Builder, name: &str, x: &str, channels: usize) -> String {
    let share = |parts: usize| (channels / parts).max(1);
    let one = conv_norm_relu(b, &format!("{name}.one"), x, [share(4), 1, 1]);
    let three = conv_norm_relu(b, &format!("{name}.three.fewer"), x, [share(4), 1, 1]);
    let three = conv_norm_relu(b, &format!("{name}.three"), &three, [share(2), 3, 1]);
    let five = conv_norm_relu(b, &format!("{name}.five.fewer"), x, [share(8), 1, 1]);
    let five = conv_norm_relu(b, &format!("{name}.five"), &five, [share(8), 5, 1]);
    let pool = Op::MaxPool {
        kernel: 3,
        stride: 1,
        padding: 1,
    };
    let pool = b.node(format!("{name}.pool"), pool, &[x]);
    let pool = conv_norm_relu(b, &format!("{name}.pooled"), &pool, [share(8), 1, 1]);
    b.node(name.to_owned(), Op::Concat, &[&one, &three, &five, &pool])
}

/// The residual network of 20 layers for small pictures (He 2016): levels of 16, 32 and 64 channels, three blocks each. Where the
/// size halves, a 1x1 convolution carries the picture past the block.
pub(super) fn resnet20(o: &Checked) -> Result<Net> {
    resnet(o, 16, &[3; 3], 32)
}

/// The residual network of 18 layers (He 2016): levels of 64, 128, 256 and 512 channels, two blocks each. Small pictures (up to 96 pixels)
/// begin with a 3x3 convolution, larger ones with one of 7x7 and a max-pool, each of stride 2.
pub(super) fn resnet18(o: &Checked) -> Result<Net> {
    resnet(o, 64, &[2; 4], 32)
}

/// Longest side of pictures that begin at their full size.
const SMALL: usize = 96;

/// `blocks` of each level; the first level has `width` channels, each further one twice as many at half the size.
fn resnet(o: &Checked, width: usize, blocks: &[usize], own_size: usize) -> Result<Net> {
    o.without(&["code size", "depth"])?;
    let (width, classes, color) = (o.width(width)?, o.classes()?, o.color());
    let halved = 1 << (blocks.len() - 1);
    let size = o.size(own_size, halved)?;
    let is_small = size.iter().all(|side| *side <= SMALL);
    let multiple_of = if is_small { halved } else { 4 * halved };
    let size = o.size(own_size, multiple_of)?;
    let mut b = Builder::new();
    let input = b.input("input", color.channels());
    let mut x = if is_small {
        conv_norm_relu(&mut b, "stem", &input, [width, 3, 1])
    } else {
        let x = conv_norm_relu(&mut b, "stem", &input, [width, 7, 2]);
        b.node("stem.pool", WIDE_HALVE, &[&x])
    };
    for (level, count) in blocks.iter().enumerate() {
        for i in 0..*count {
            let stride = if level > 0 && i == 0 { 2 } else { 1 };
            x = basic_block(&mut b, &format!("block{level}.{i}"), &x, [width << level, stride]);
        }
    }
    Ok(finish(b, &x, classes, centred(color, size, multiple_of)))
}

/// Two 3x3 convolutions of `[out, stride]` added to what they see.
fn basic_block(b: &mut Builder, name: &str, x: &str, [out, stride]: [usize; 2]) -> String {
    let y = conv_norm_relu(b, &format!("{name}.1"), x, [out, 3, stride]);
    let y = conv_norm(b, &format!("{name}.2"), &y, [out, 3, 1]);
    let past = if stride == 1 {
        x.to_owned()
    } else {
        conv_norm(b, &format!("{name}.past"), x, [out, 1, stride])
    };
    let sum = b.node(format!("{name}.add"), Op::Add, &[&past, &y]);
    b.node(format!("{name}.relu"), Op::Relu, &[&sum])
}

/// Half the size, each window reaching into its neighbours.
const WIDE_HALVE: Op = Op::MaxPool {
    kernel: 3,
    stride: 2,
    padding: 1,
};

/// The mean of each plane, and a linear layer.
fn finish(mut b: Builder, x: &str, classes: usize, input: InputSpec) -> Net {
    let x = b.node("mean", Op::GlobalAvgPool, &[x]);
    let x = b.node("flatten", Op::Flatten, &[&x]);
    let x = b.linear("output", &x, classes);
    Net {
        graph: b.finish(&[&x]),
        input,
        given: Weights::new(),
    }
}

/// Pictures of one size, their 0..1 as -1..1.
fn centred(color: Color, size: [usize; 2], multiple_of: usize) -> InputSpec {
    let normalization = Normalization::Fixed {
        mean: vec![0.5; color.channels()],
        std: vec![0.5; color.channels()],
    };
    fixed_size(color, size, multiple_of, normalization)
}
