//! What several architectures are built of.

use crate::graph::{Builder, Op};

/// A residual U-Net after DRUNet (Zhang 2021): [`residual_encoder`] on the way down, and a residual block on each of its levels on the way up;
/// 1x1 convolutions and pixel shuffle up, skips added. It ends with `width` channels at the size of `x`, whose sides are multiples of
/// 2^(`depth` - 1).
pub(super) fn residual_u_net(b: &mut Builder, x: &str, width: usize, depth: usize) -> String {
    let mut levels = residual_encoder(b, x, width, depth);
    let mut x = levels.pop().expect("the depth is 1 at least");
    for (level, skip) in levels.iter().enumerate().rev() {
        let width = level_width(width, level);
        x = b.conv(format!("up{level}"), &x, 4 * width, 1, true);
        x = b.node(format!("enlarge{level}"), Op::PixelShuffle { factor: 2 }, &[&x]);
        x = b.node(format!("skip{level}"), Op::Add, &[skip, &x]);
        x = residual_block(b, &format!("decode{level}"), &x, width);
    }
    x
}

/// The way down of a residual U-Net, on what a 3x3 convolution makes of `x`: `depth` levels of `width`, 2 `width`, 4 `width` and from there on
/// 8 `width` channels, a residual block of two convolutions on each, and 2x2 convolutions of stride 2 between them. What each level gives.
pub(super) fn residual_encoder(b: &mut Builder, x: &str, width: usize, depth: usize) -> Vec<String> {
    let mut x = b.conv("head", x, width, 3, true);
    let mut levels = Vec::new();
    for level in 0..depth {
        let width = level_width(width, level);
        if level > 0 {
            x = b.strided_conv(format!("down{level}"), &x, width, [2, 2, 0], true);
        }
        x = residual_block(b, &format!("encode{level}"), &x, width);
        levels.push(x.clone());
    }
    levels
}

fn level_width(width: usize, level: usize) -> usize {
    width << level.min(3)
}

/// What two convolutions of `width` channels add to `x`. With a plain ReLU between them 232 of the 256 channels of a denoiser's coarsest
/// level gave nothing on any picture after 500 steps of training, and no gradient reached them any more.
fn residual_block(b: &mut Builder, name: &str, x: &str, width: usize) -> String {
    let y = b.conv(format!("{name}.conv1"), x, width, 3, true);
    let y = b.node(format!("{name}.relu"), Op::LeakyRelu { slope: 0.1 }, &[&y]);
    let y = b.conv(format!("{name}.conv2"), &y, width, 3, true);
    b.node(format!("{name}.add"), Op::Add, &[x, &y])
}

/// A convolution of `[out, kernel, stride]`, padded so that a stride of 1 keeps the size, its batch norm and ReLU.
pub(super) fn conv_norm_relu(b: &mut Builder, name: &str, x: &str, shape: [usize; 3]) -> String {
    let x = conv_norm(b, name, x, shape);
    b.node(format!("{name}.relu"), Op::Relu, &[&x])
}

/// A convolution of `[out, kernel, stride]`, padded so that a stride of 1 keeps the size, and its batch norm.
pub(super) fn conv_norm(b: &mut Builder, name: &str, x: &str, [out, kernel, stride]: [usize; 3]) -> String {
    let x = b.strided_conv(format!("{name}.conv"), x, out, [kernel, stride, kernel / 2], false);
    b.batch_norm(format!("{name}.norm"), &x)
}
