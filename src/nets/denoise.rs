//! Denoisers: the clean picture from a noisy one, of any size.

use super::{Checked, Net};
use crate::Result;
use crate::graph::{Builder, Op, Weights};
use crate::model::{Color, ExtraInput, InputSpec, Normalization, Resize};

/// Convolutions that a user may ask for.
const DEPTHS: std::ops::RangeInclusive<usize> = 2..=64;

/// FFDNet (Zhang 2018) cut down to 6 convolutions of 24 channels; for grey made residual.
pub(super) fn micro(o: &Checked) -> Result<Net> {
    shuffled(o, 24, 6, o.color() == Color::Gray)
}

/// FFDNet cut down to 8 convolutions of 32 channels; for grey made residual: it predicts the noise, so that an untrained
/// network passes the picture on and a short training already helps.
///
/// In colour the noise of a cell has 12 independent values, and to carry them through so few channels leaves room for
/// little else: `micro` on frames of `candletestsrc` at sigma 20 came to 25.0 dB residual after 4,000 steps, and to
/// 33.3 dB after 800 when it predicted the picture.
pub(super) fn fast(o: &Checked) -> Result<Net> {
    shuffled(o, 32, 8, o.color() == Color::Gray)
}

/// FFDNet as published: 15 convolutions of 64 channels for grey, 12 of 96 for colour, the clean picture predicted
/// directly. Its batch norms are left out, as in its authors' release, where they are merged into the convolutions.
pub(super) fn ffdnet(o: &Checked) -> Result<Net> {
    match o.color() {
        Color::Gray => shuffled(o, 64, 15, false),
        Color::Rgb => shuffled(o, 96, 12, false),
    }
}

/// `depth` convolutions of `width` channels at half size, on the picture's pixels taken two by two and a plane of the
/// noise level.
fn shuffled(o: &Checked, width: usize, depth: usize, residual: bool) -> Result<Net> {
    o.without(&["code size", "size"])?;
    let (width, depth, color) = (o.width(width)?, o.depth(depth, DEPTHS)?, o.color());
    let mut b = Builder::new();
    let input = b.input("input", color.channels());
    let noise = b.input("noise", 1);
    let cells = b.node("unshuffle", Op::PixelUnshuffle { factor: 2 }, &[&input]);
    let mut x = b.node("join", Op::Concat, &[&cells, &noise]);
    for i in 1..depth {
        x = b.conv(format!("conv{i}"), &x, width, 3, true);
        x = b.node(format!("relu{i}"), Op::Relu, &[&x]);
    }
    x = b.conv(format!("conv{depth}"), &x, 4 * color.channels(), 3, true);
    x = b.node("shuffle", Op::PixelShuffle { factor: 2 }, &[&x]);
    if residual {
        x = b.node("output", Op::Sub, &[&input, &x]);
    }
    let extra = vec![ExtraInput::NoiseLevel { divide: 2 }];
    Ok(Net {
        graph: b.finish(&[&x]),
        input: any_size(color, 2, extra),
        given: Weights::new(),
    })
}

/// DnCNN (Zhang 2017): 17 convolutions of 64 channels with batch norm, predicts the noise; blind to its level. The
/// published blind network has a depth of 20.
pub(super) fn dncnn(o: &Checked) -> Result<Net> {
    o.without(&["code size", "size"])?;
    let (width, depth, color) = (o.width(64)?, o.depth(17, DEPTHS)?, o.color());
    let mut b = Builder::new();
    let input = b.input("input", color.channels());
    let mut x = b.conv("conv1", &input, width, 3, true);
    x = b.node("relu1", Op::Relu, &[&x]);
    for i in 2..depth {
        x = b.conv(format!("conv{i}"), &x, width, 3, false);
        x = b.batch_norm(format!("norm{i}"), &x);
        x = b.node(format!("relu{i}"), Op::Relu, &[&x]);
    }
    x = b.conv(format!("conv{depth}"), &x, color.channels(), 3, true);
    x = b.node("output", Op::Sub, &[&input, &x]);
    Ok(Net {
        graph: b.finish(&[&x]),
        input: any_size(color, 1, Vec::new()),
        given: Weights::new(),
    })
}

fn any_size(color: Color, multiple_of: usize, extra: Vec<ExtraInput>) -> InputSpec {
    let (resize, normalization) = (Resize::Stretch, Normalization::None);
    InputSpec {
        color,
        size: None,
        multiple_of,
        resize,
        normalization,
        frames: 1,
        extra,
    }
}
