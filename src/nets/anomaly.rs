//! Reconstructions of what is normal: where one fails, something is not; and a detector of marks.

use super::blocks::{conv_norm_relu, residual_u_net};
use super::{Checked, Net, fixed_size};
use crate::Result;
use crate::graph::{Array, Builder, Interpolation, Op, Padding, Weights};
use crate::model::{Color, InputSpec, Normalization, Resize};

/// Frequency-aware image restoration (FAIR, Liu 2023): a U-Net restores the picture from its edges alone, so that
/// what it has never seen it cannot restore.
///
/// The edges are Sobel's, both directions of every channel, as one frozen convolution; a [`u_net`] follows. The output is
/// linear, not clamped to 0..1.
pub(super) fn fair(o: &Checked) -> Result<Net> {
    o.without(&["code size", "depth"])?;
    let (w, size, color) = (o.width(16)?, o.size(256, 16)?, o.color());
    let mut b = Builder::new();
    let input = b.input("input", color.channels());
    let mut x = b.node("highpass", highpass(color), &[&input]);
    x = u_net(&mut b, "", x, w);
    x = b.conv("output", &x, color.channels(), 3, true);
    let given = Weights::from([("highpass.weight".to_owned(), sobel(color))]);
    Ok(Net {
        graph: b.finish(&[&x]),
        input: fixed_size(color, size, 16, Normalization::None),
        given,
    })
}

/// Marks what is wrong, trained on made marks: from any picture, normalised by its own mean and deviation, to a map of 0..1. It runs at
/// the picture's own resolution, so parts of any shape keep theirs: a [`residual_u_net`] on the pixels taken two by two. The first output
/// is the map, the second the logits that training looks at.
pub(super) fn unet(o: &Checked) -> Result<Net> {
    o.without(&["code size", "size"])?;
    let (width, depth, color) = (o.width(16)?, o.depth(4, 1..=6)?, o.color());
    let mut b = Builder::new();
    let input = b.input("input", color.channels());
    let cells = b.node("unshuffle", Op::PixelUnshuffle { factor: 2 }, &[&input]);
    let x = residual_u_net(&mut b, &cells, width, depth);
    let x = b.conv("logit", &x, 4, 3, true);
    let logits = b.node("logits", Op::PixelShuffle { factor: 2 }, &[&x]);
    let map = gentle(&mut b, &logits);
    Ok(Net {
        graph: b.finish(&[&map, &logits]),
        input: InputSpec {
            color,
            size: None,
            multiple_of: 1 << depth,
            resize: Resize::Stretch,
            normalization: Normalization::PerFrame,
            frames: 1,
            extra: Vec::new(),
        },
        given: Weights::from([("logit.bias".to_owned(), rare(4))]),
    })
}

/// Frames that [`predict`] sees.
const WINDOW: usize = 4;

/// Predicts the next frame of a video from the last four (Liu 2018, with a [`residual_u_net`] on the pixels taken two by two, and without
/// optical flow and adversary): what moves as nothing did in training is not where it was expected. It predicts what will change of the
/// last frame.
pub(super) fn predict(o: &Checked) -> Result<Net> {
    o.without(&["code size"])?;
    let (width, depth, color) = (o.width(16)?, o.depth(4, 1..=6)?, o.color());
    let size = o.size(256, 1 << depth)?;
    let channels = color.channels();
    let mut b = Builder::new();
    let input = b.input("input", WINDOW * channels);
    let cells = b.node("unshuffle", Op::PixelUnshuffle { factor: 2 }, &[&input]);
    let x = residual_u_net(&mut b, &cells, width, depth);
    let change = b.conv("change.cells", &x, 4 * channels, 3, true);
    let change = b.node("change", Op::PixelShuffle { factor: 2 }, &[&change]);
    let last = Op::Conv2d {
        out: channels,
        kernel: 1,
        stride: 1,
        padding: 0,
        padding_mode: Padding::Zero,
        dilation: 1,
        groups: 1,
        bias: false,
        frozen: true,
    };
    let last = b.node("last", last, &[&input]);
    let output = b.node("output", Op::Add, &[&last, &change]);
    let first = (WINDOW - 1) * channels;
    let taken = (0..channels * WINDOW * channels)
        .map(|i| f32::from(u8::from(i % (WINDOW * channels) == first + i / (WINDOW * channels))));
    let given = Array {
        shape: vec![channels, WINDOW * channels, 1, 1],
        data: taken.collect(),
    };
    Ok(Net {
        graph: b.finish(&[&output]),
        input: InputSpec {
            frames: WINDOW,
            ..fixed_size(color, size, 1 << depth, Normalization::None)
        },
        given: Weights::from([("last.weight".to_owned(), given)]),
    })
}

/// [`fair`], and a second U-Net that marks what is wrong from the picture beside its restoration (after DRAEM, Zavrtanik 2021): the first
/// output is a map of 0..1, the second the restoration and the third the map's logits, which only training looks at.
pub(super) fn fair_seg(o: &Checked) -> Result<Net> {
    o.without(&["code size", "depth"])?;
    let (w, size, color) = (o.width(32)?, o.size(256, 16)?, o.color());
    let mut b = Builder::new();
    let input = b.input("input", color.channels());
    let x = b.node("highpass", highpass(color), &[&input]);
    let x = u_net(&mut b, "", x, w);
    let restored = b.conv("restored", &x, color.channels(), 3, true);
    let both = b.node("both", Op::Concat, &[&input, &restored]);
    let x = u_net(&mut b, "mark.", both, (w / 2).max(1));
    let logits = b.conv("logit", &x, 1, 3, true);
    let map = gentle(&mut b, &logits);
    let given = Weights::from([
        ("highpass.weight".to_owned(), sobel(color)),
        ("logit.bias".to_owned(), rare(1)),
    ]);
    Ok(Net {
        graph: b.finish(&[&map, &restored, &logits]),
        input: fixed_size(color, size, 16, Normalization::None),
        given,
    })
}

/// A map of 0..1 of logits, 0.5 where a mark is as likely as none. Logits of what networks are sure of lie between -20 and 20, where
/// probabilities are 0 and 1 but for rounding: of two frames that are flagged it could not be seen which is the worse, and a mean of pixels
/// counts them. So a quarter of each logit is taken: `anomaly-magnetic-tile` as of 2026-11-24, the largest mean of 5x5 pixels being the score,
/// told tiles apart with an AUROC of 0.81 by probabilities and of 0.84 so; by the mean of the 16 largest pixels, with 0.89 by either.
fn gentle(b: &mut Builder, logits: &str) -> String {
    #[rustfmt::skip]
    let quarter = b.node("quarter", Op::Scale { scale: 0.25, shift: 0.0 }, &[logits]);
    b.node("output", Op::Sigmoid, &[&quarter])
}

/// Logit of 1 %: a detector of what is rare that starts with it as its bias (Lin 2017) learns what speaks for a mark. One that
/// starts at 0 learns what speaks against it, of which there cannot be less than nothing: marks saturate at the bias.
const RARE_LOGIT: f32 = -4.6;

fn rare(channels: usize) -> Array {
    Array {
        shape: vec![channels],
        data: vec![RARE_LOGIT; channels],
    }
}

/// Widths w, 2w, 4w, 8w, 8w, two conv-BN-ReLU a level, 2x2 max-pools; on the way up enlargement and conv-BN-ReLU, then
/// the skip is added, and the second of the next two conv-BN-ReLU narrows to the next level's width. Ends with w channels. The nodes' names
/// begin with `prefix`.
fn u_net(b: &mut Builder, prefix: &str, mut x: String, w: usize) -> String {
    let widths = [w, 2 * w, 4 * w, 8 * w, 8 * w];
    let mut skips = Vec::new();
    for (level, &width) in widths.iter().enumerate() {
        if level > 0 {
            skips.push(x.clone());
            x = b.node(
                format!("{prefix}down{level}"),
                Op::MaxPool {
                    kernel: 2,
                    stride: 2,
                    padding: 0,
                },
                &[&x],
            );
        }
        x = conv_norm_relu(b, &format!("{prefix}encode{level}.0"), &x, [width, 3, 1]);
        x = conv_norm_relu(b, &format!("{prefix}encode{level}.1"), &x, [width, 3, 1]);
    }
    for (level, skip) in skips.iter().enumerate().rev() {
        x = b.node(
            format!("{prefix}enlarge{level}"),
            Op::Upsample {
                factor: 2,
                mode: Interpolation::Nearest,
            },
            &[&x],
        );
        x = conv_norm_relu(b, &format!("{prefix}up{level}"), &x, [widths[level], 3, 1]);
        x = b.node(format!("{prefix}skip{level}"), Op::Add, &[&x, skip]);
        x = conv_norm_relu(b, &format!("{prefix}decode{level}.0"), &x, [widths[level], 3, 1]);
        x = conv_norm_relu(
            b,
            &format!("{prefix}decode{level}.1"),
            &x,
            [widths[level.saturating_sub(1)], 3, 1],
        );
    }
    x
}

/// Two filters for each channel; the edge pixels repeated beyond the border, so that the border is no edge.
fn highpass(color: Color) -> Op {
    Op::Conv2d {
        out: 2 * color.channels(),
        kernel: 3,
        stride: 1,
        padding: 1,
        padding_mode: Padding::Replicate,
        dilation: 1,
        groups: color.channels(),
        bias: false,
        frozen: true,
    }
}

/// Sobel's horizontal and vertical derivative, scaled so that a step by 1 gives 1.
fn sobel(color: Color) -> Array {
    const X: [f32; 9] = [-0.25, 0.0, 0.25, -0.5, 0.0, 0.5, -0.25, 0.0, 0.25];
    const Y: [f32; 9] = [-0.25, -0.5, -0.25, 0.0, 0.0, 0.0, 0.25, 0.5, 0.25];
    Array {
        shape: vec![2 * color.channels(), 1, 3, 3],
        data: [X, Y].concat().repeat(color.channels()),
    }
}

/// The teaching baseline: `depth` strided convolutions down to a code of `code_size` channels, and back up by
/// nearest-neighbour enlargement and convolutions. The first level has `width` channels, each further one twice as
/// many up to 8 `width`. The output is in 0..1 by a sigmoid.
pub(super) fn autoencoder(o: &Checked) -> Result<Net> {
    let (width, depth, code) = (o.width(16)?, o.depth(4, 1..=8)?, o.code_size(64)?);
    let (size, color) = (o.size(256, 1 << depth)?, o.color());
    let widths: Vec<usize> = (0..depth).map(|level| width << level.min(3)).collect();
    let mut b = Builder::new();
    let mut x = b.input("input", color.channels());
    for (level, &channels) in widths.iter().enumerate() {
        x = b.strided_conv(format!("encode{level}.conv"), &x, channels, [4, 2, 1], false);
        x = norm_leaky(&mut b, &format!("encode{level}"), &x);
    }
    x = b.conv("code", &x, code, 1, true);
    x = b.conv("decode.conv", &x, widths[depth - 1], 1, false);
    x = norm_leaky(&mut b, "decode", &x);
    for level in (0..depth).rev() {
        let channels = widths[level.saturating_sub(1)];
        x = b.node(
            format!("enlarge{level}"),
            Op::Upsample {
                factor: 2,
                mode: Interpolation::Nearest,
            },
            &[&x],
        );
        x = b.conv(format!("decode{level}.conv"), &x, channels, 3, false);
        x = norm_leaky(&mut b, &format!("decode{level}"), &x);
    }
    x = b.conv("output.conv", &x, color.channels(), 3, true);
    x = b.node("output", Op::Sigmoid, &[&x]);
    let input = fixed_size(color, size, 1 << depth, Normalization::None);
    Ok(Net {
        graph: b.finish(&[&x]),
        input,
        given: Weights::new(),
    })
}

fn norm_leaky(b: &mut Builder, name: &str, x: &str) -> String {
    let x = b.batch_norm(format!("{name}.norm"), x);
    b.node(format!("{name}.relu"), Op::LeakyRelu { slope: 0.2 }, &[&x])
}
