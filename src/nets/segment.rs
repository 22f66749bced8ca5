//! A class for each pixel: logits of all classes at the picture's own size, softmax left to whoever reads them.

use super::blocks::{conv_norm_relu, residual_u_net};
use super::{Checked, Net};
use crate::Result;
use crate::graph::{Array, Builder, Graph, Interpolation, Node, Op, Weights};
use crate::model::{InputSpec, Normalization, Resize};

/// A [`residual_u_net`] (after Ronneberger 2015) on the pixels taken two by two, of pictures normalised by their own mean and deviation.
pub(super) fn unet(o: &Checked) -> Result<Net> {
    o.without(&["code size"])?;
    let (width, depth, classes, color) = (o.width(16)?, o.depth(4, 1..=6)?, o.classes()?, o.color());
    let mut b = Builder::new();
    let input = b.input("input", color.channels());
    let cells = b.node("unshuffle", Op::PixelUnshuffle { factor: 2 }, &[&input]);
    let x = residual_u_net(&mut b, &cells, width, depth);
    let x = b.conv("logit", &x, 4 * classes, 3, true);
    let logits = b.node("logits", Op::PixelShuffle { factor: 2 }, &[&x]);
    net(b, &logits, o, 1 << depth, Normalization::PerFrame)
}

/// Levels of the fully convolutional network whose scores count: those at a quarter, an eighth and a sixteenth of the size.
const SCORED: usize = 3;

/// A fully convolutional network (Long 2015): the classifier `tiny` whose last layer gives the scores of classes at every place, the three
/// coarsest levels' scores enlarged and added. It learns from masks, or from pictures of one class each, and runs on any size.
pub(super) fn fcn(o: &Checked) -> Result<Net> {
    o.without(&["code size"])?;
    let (width, depth, classes, color) = (o.width(16)?, o.depth(4, SCORED..=6)?, o.classes()?, o.color());
    let mut b = Builder::new();
    let mut x = b.input("input", color.channels());
    let mut scores = Vec::new();
    for level in 0..depth {
        for i in 0..2 {
            x = conv_norm_relu(&mut b, &format!("level{level}.{i}"), &x, [width << level.min(3), 3, 1]);
        }
        let halve = Op::MaxPool {
            kernel: 2,
            stride: 2,
            padding: 0,
        };
        x = b.node(format!("pool{level}"), halve, &[&x]);
        if level + SCORED >= depth {
            scores.push(b.conv(format!("score{level}"), &x, classes, 1, true));
        }
    }
    let mut sum = scores.pop().expect("the last level is scored");
    for (level, finer) in scores.iter().enumerate().rev() {
        sum = b.node(format!("enlarge{level}"), enlarge(2), &[&sum]);
        sum = b.node(format!("sum{level}"), Op::Add, &[finer, &sum]);
    }
    let logits = b.node("logits", enlarge(1 << (depth + 1 - SCORED)), &[&sum]);
    let normalization = Normalization::Fixed {
        mean: vec![0.5; color.channels()],
        std: vec![0.5; color.channels()],
    };
    net(b, &logits, o, 1 << depth, normalization)
}

/// Half of the logit of 1 %, see [`super::anomaly`]: the background is above the other classes by twice that when training begins.
const COMMON_LOGIT: f32 = 2.3;

/// Has the training of a network of this file begin with the first of `classes` classes, the background, as by far the most frequent one.
pub fn favour_background(net: &mut Net, classes: usize) {
    if let Some((name, out)) = last_bias(&net.graph) {
        let mut bias = Array {
            shape: vec![out],
            data: vec![-COMMON_LOGIT; out],
        };
        bias.data[..out / classes].fill(COMMON_LOGIT);
        net.given.insert(name, bias);
    }
}

/// Adds to the logit of the first of `classes` classes, the background, of a network of this file.
pub fn raise_background(graph: &Graph, weights: &mut Weights, classes: usize, offset: f32) {
    if let Some((name, out)) = last_bias(graph)
        && let Some(bias) = weights.get_mut(&name)
    {
        bias.data[..out / classes].iter_mut().for_each(|x| *x += offset);
    }
}

/// Name and length of the bias that reaches every logit; a class's values lie together.
fn last_bias(graph: &Graph) -> Option<(String, usize)> {
    let is_last = |node: &&Node| node.name == "logit" || node.name.starts_with("score");
    let node = graph.nodes.iter().rfind(is_last)?;
    match node.op {
        Op::Conv2d { out, .. } => Some((node.weight("bias"), out)),
        _ => None,
    }
}

fn enlarge(factor: usize) -> Op {
    let mode = Interpolation::Bilinear;
    Op::Upsample { factor, mode }
}

fn net(b: Builder, logits: &str, o: &Checked, multiple_of: usize, normalization: Normalization) -> Result<Net> {
    Ok(Net {
        graph: b.finish(&[logits]),
        input: InputSpec {
            color: o.color(),
            size: o.size_if_given(multiple_of)?,
            multiple_of,
            resize: Resize::Stretch,
            normalization,
            frames: 1,
            extra: Vec::new(),
        },
        given: Weights::new(),
    })
}
