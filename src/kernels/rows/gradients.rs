//! Gradients of what [`super::pixels`] does, for one picture each: from the gradient of the output, `g`, to that of the
//! input, `dx`, which they fill.

use super::Window;
use crate::kernels::Nhwc;

/// Each window's gradient goes to the first of its largest values, channel by channel.
pub(crate) fn max_pool(window: Window, (x, from): (&[f32], Nhwc), (g, to): (&[f32], Nhwc), dx: &mut [f32]) {
    dx.fill(0.0);
    let c = from.c;
    let (mut best, mut places) = (vec![0.0; c], vec![0u32; c]);
    each_window(window, from, (g, to), |pixels, g| {
        let mut first = true;
        for pixel in pixels {
            let x = &x[pixel * c..(pixel + 1) * c];
            for ((best, place), x) in best.iter_mut().zip(&mut places).zip(x) {
                let better = first || *x > *best;
                *best = if better { *x } else { *best };
                *place = if better { pixel as u32 } else { *place };
            }
            first = false;
        }
        // A window that lies in the padding alone has no pixel.
        if !first {
            for (i, (place, g)) in places.iter().zip(g).enumerate() {
                dx[*place as usize * c + i] += g;
            }
        }
    });
}

/// Each window's gradient is shared by its pixels.
pub(crate) fn avg_pool(window: Window, from: Nhwc, g: (&[f32], Nhwc), dx: &mut [f32]) {
    dx.fill(0.0);
    let share = 1.0 / (window.kernel * window.kernel) as f32;
    each_window(window, from, g, |pixels, g| {
        for pixel in pixels {
            add(g, share, &mut dx[pixel * from.c..(pixel + 1) * from.c]);
        }
    });
}

/// Calls `f` with the pixels of every window, in their order, and its gradient.
fn each_window(
    window: Window,
    from: Nhwc,
    (g, to): (&[f32], Nhwc),
    mut f: impl FnMut(&mut dyn Iterator<Item = usize>, &[f32]),
) {
    for (at, g) in g.chunks_exact(to.c).enumerate() {
        let (rows, columns) = (window.inside(at / to.w, from.h), window.inside(at % to.w, from.w));
        f(&mut rows.flat_map(|y| columns.clone().map(move |x| y * from.w + x)), g);
    }
}

/// All pixels have the same share.
pub(crate) fn global_avg(g: &[f32], from: Nhwc, dx: &mut [f32]) {
    let share = 1.0 / (from.h * from.w) as f32;
    dx.fill(0.0);
    dx.chunks_exact_mut(from.c).for_each(|dx| add(g, share, dx));
}

/// Of a picture whose pixel (y, x) shows the input's (`row(y)`, `column(x)`): each pixel's gradients are summed.
pub(crate) fn shown(
    (g, to): (&[f32], Nhwc),
    row: impl Fn(usize) -> usize,
    column: impl Fn(usize) -> usize,
    (dx, from): (&mut [f32], Nhwc),
) {
    dx.fill(0.0);
    for (at, g) in g.chunks_exact(to.c).enumerate() {
        let pixel = row(at / to.w) * from.w + column(at % to.w);
        add(g, 1.0, &mut dx[pixel * from.c..(pixel + 1) * from.c]);
    }
}

/// Of a picture enlarged by [`super::bilinear`].
pub(crate) fn bilinear(g: &[f32], factor: usize, (dx, from): (&mut [f32], Nhwc)) {
    let [rows, columns] = [from.h, from.w].map(|side| super::linear_taps(side, factor));
    dx.fill(0.0);
    let mut blend = vec![0.0; from.row()];
    for ((above, below, share), g) in rows.iter().zip(g.chunks_exact(factor * from.row())) {
        blend.fill(0.0);
        for ((left, right, part), g) in columns.iter().zip(g.chunks_exact(from.c)) {
            for (pixel, part) in [(left, 1.0 - part), (right, *part)] {
                add(g, part, &mut blend[pixel * from.c..(pixel + 1) * from.c]);
            }
        }
        for (row, share) in [(above, 1.0 - share), (below, *share)] {
            add(&blend, share, &mut dx[row * from.row()..(row + 1) * from.row()]);
        }
    }
}

/// Of [`super::softmax`], from its output `y`.
pub(crate) fn softmax(y: &[f32], g: &[f32], channels: usize, dx: &mut [f32]) {
    let pixels = dx.chunks_exact_mut(channels).zip(y.chunks_exact(channels));
    for ((dx, y), g) in pixels.zip(g.chunks_exact(channels)) {
        let dot: f32 = y.iter().zip(g).map(|(y, g)| y * g).sum();
        dx.iter_mut()
            .zip(y.iter().zip(g))
            .for_each(|(dx, (y, g))| *dx = y * (g - dot));
    }
}

/// Of the channels from `first` on that [`super::join`] put among `all`.
pub(crate) fn part(g: &[f32], all: usize, first: usize, channels: usize, dx: &mut [f32]) {
    let pixels = dx.chunks_exact_mut(channels).zip(g.chunks_exact(all));
    pixels.for_each(|(dx, g)| dx.copy_from_slice(&g[first..first + channels]));
}

fn add(g: &[f32], share: f32, dx: &mut [f32]) {
    dx.iter_mut().zip(g).for_each(|(dx, g)| *dx += share * g);
}
