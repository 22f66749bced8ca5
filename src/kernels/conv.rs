//! 2-D convolution: forward, and its gradients with respect to the input and the weight.
//!
//! A strip of the input is copied, with its padding, into a scratch buffer that stays in cache; there each tap of the
//! kernel is the same run of memory at another offset, and the loops of [`super::simd`] do the rest. A stride splits the
//! rows and columns of the copy into phases, so that taps stay runs. Rows of the copy are laid end to end: positions
//! that fall on the padding between two rows are computed and dropped.

mod layout;
mod plan;
#[cfg(test)]
mod tests;
mod weight;

use std::cell::RefCell;

use self::plan::{Finish, Plan};
use super::Nchw;

pub use weight::conv2d_grad_weight;

/// f32 values of scratch that a strip should not exceed: half of a megabyte, which the second-level cache holds.
const SCRATCH: usize = 128 * 1024;

thread_local! {
    static BUFFERS: RefCell<[Vec<f32>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// The window of a convolution: a square kernel, the same stride, zero padding and dilation on both axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv {
    /// Side of the kernel.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Zeros added at every border.
    pub padding: usize,
    /// Distance between taps.
    pub dilation: usize,
    /// Channel groups.
    pub groups: usize,
}

impl Conv {
    /// Length of the output for an input of length `side`; `None` where the kernel does not fit.
    pub fn output(&self, side: usize) -> Option<usize> {
        let span = (self.kernel - 1) * self.dilation + 1;
        Some((side + 2 * self.padding).checked_sub(span)? / self.stride + 1)
    }

    fn area(&self) -> usize {
        self.kernel * self.kernel
    }
}

/// `out = x * weight + bias`, then, with `relu`, nothing below zero. `weight` is `[out.c, x.c / groups, kernel, kernel]`.
/// Panics when the shapes do not fit each other.
pub fn conv2d(
    conv: &Conv,
    x: (&[f32], Nchw),
    weight: &[f32],
    bias: Option<&[f32]>,
    relu: bool,
    out: (&mut [f32], Nchw),
) {
    check(conv, (x.0.len(), x.1), weight.len(), (out.0.len(), out.1));
    let (ins, outs) = (x.1.c / conv.groups, out.1.c / conv.groups);
    let factor =
        |group: usize, o: usize, i: usize, tap: usize| weight[((group * outs + o) * ins + i) * conv.area() + tap];
    Plan::forward(conv, out.1).run(conv, x, factor, Finish { bias, relu }, out);
}

/// Gradient of [`conv2d`]'s input, `dx`, from that of its output, `g`; with `bias` (one value for each channel of `dx`)
/// also the forward pass of a transposed convolution.
pub fn conv2d_grad_input(conv: &Conv, g: (&[f32], Nchw), weight: &[f32], bias: Option<&[f32]>, dx: (&mut [f32], Nchw)) {
    check(conv, (dx.0.len(), dx.1), weight.len(), (g.0.len(), g.1));
    let (ins, outs) = (dx.1.c / conv.groups, g.1.c / conv.groups);
    let factor =
        |group: usize, i: usize, o: usize, tap: usize| weight[((group * outs + o) * ins + i) * conv.area() + tap];
    Plan::backward(conv, dx.1).run(conv, g, factor, Finish { bias, relu: false }, dx);
}

fn check(conv: &Conv, x: (usize, Nchw), weight: usize, out: (usize, Nchw)) {
    let ((x_len, x), (out_len, out)) = (x, out);
    assert!(
        x_len == x.len() && out_len == out.len() && x.n == out.n,
        "{x:?} {out:?}"
    );
    assert!(
        x.c.is_multiple_of(conv.groups) && out.c.is_multiple_of(conv.groups),
        "{conv:?} {x:?} {out:?}"
    );
    assert_eq!(
        weight,
        out.c * (x.c / conv.groups) * conv.area(),
        "{conv:?} {x:?} {out:?}"
    );
    // An input may be longer than the output needs: a transposed convolution's `output_padding`.
    assert!(
        [(x.h, out.h), (x.w, out.w)]
            .into_iter()
            .all(|(x, out)| conv.output(x) == Some(out)),
        "{conv:?} {x:?} {out:?}"
    );
}
