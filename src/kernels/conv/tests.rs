use rand::{Rng, RngExt};

use super::*;
use crate::data::random::stream;
use crate::kernels::{Isa, Tiles};

/// Values that bf16 has.
fn rounded(rng: &mut impl Rng, len: usize) -> Vec<f32> {
    let values = normal(rng, len);
    values.into_iter().map(|x| half::bf16::from_f32(x).to_f32()).collect()
}

fn normal(rng: &mut impl Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0f32..1.0)).collect()
}

/// Calls `f(x, weight, out)` with the indices of every product of the convolution.
fn products(conv: &Conv, x: Nhwc, out: Nhwc, mut f: impl FnMut(usize, usize, usize)) {
    let (ins, outs, k) = (x.c / conv.groups, out.c / conv.groups, conv.kernel);
    for (n, o, y, c) in indices(out.n, out.c, out.h, out.w) {
        for (i, ky, kx, _) in indices(ins, k, k, 1) {
            let source = |at: usize, tap: usize| (at * conv.stride + tap * conv.dilation).checked_sub(conv.padding);
            let (Some(sy), Some(sx)) = (source(y, ky), source(c, kx)) else {
                continue;
            };
            if sy < x.h && sx < x.w {
                let at = ((n * x.h + sy) * x.w + sx) * x.c + o / outs * ins + i;
                let weight = ((o * ins + i) * k + ky) * k + kx;
                f(at, weight, ((n * out.h + y) * out.w + c) * out.c + o);
            }
        }
    }
}

fn indices(a: usize, b: usize, c: usize, d: usize) -> impl Iterator<Item = (usize, usize, usize, usize)> {
    (0..a * b * c * d).map(move |i| (i / d / c / b, i / d / c % b, i / d % c, i % d))
}

/// `want` is a sum and the sum of its terms' magnitudes.
#[track_caller]
fn assert_close(got: &[f32], want: &[[f64; 2]], what: &str) {
    for (i, (got, [want, size])) in got.iter().zip(want).enumerate() {
        let off = (f64::from(*got) - want).abs();
        assert!(off <= 2e-6 * size, "{what} [{i}]: {got} for {want}");
    }
}

/// All that this machine can convolve with, and the loops that stand for tiles.
fn arithmetics() -> Vec<Arithmetic> {
    let isas = Isa::ALL.into_iter().filter(|isa| isa.is_here());
    let in_f32 = isas.map(|isa| Arithmetic { isa, tiles: None });
    let tiles = [Tiles::Emulated].into_iter().chain(Tiles::find());
    let in_bf16 = tiles.map(|tiles| Arithmetic {
        tiles: Some(tiles),
        ..Arithmetic::in_f32()
    });
    in_f32.chain(in_bf16).collect()
}

/// Forward and both gradients against the sums written out in f64. All factors are those that bf16 has.
fn compare(conv: &Conv, x: Nhwc, outs: usize, rng: &mut impl Rng) {
    let (Some(h), Some(w)) = (conv.output(x.h), conv.output(x.w)) else {
        return;
    };
    let out = Nhwc { c: outs, h, w, ..x };
    let what = format!("{conv:?} {x:?} {out:?}");
    let weights = outs * x.c / conv.groups * conv.kernel * conv.kernel;
    let [xs, ws, gs] = [x.len(), weights, out.len()].map(|len| rounded(rng, len));
    let (bias, back) = (normal(rng, outs), normal(rng, x.c));
    let mut want = [out.len(), x.len(), weights].map(|len| vec![[0.0f64; 2]; len]);
    let add = |sum: &mut [f64; 2], term: f64| *sum = [sum[0] + term, sum[1] + term.abs()];
    for (i, sum) in want[0].iter_mut().enumerate() {
        add(sum, bias[i % out.c].into());
    }
    for (i, sum) in want[1].iter_mut().enumerate() {
        add(sum, back[i % x.c].into());
    }
    products(conv, x, out, |i, j, k| {
        let [x, w, g] = [xs[i], ws[j], gs[k]].map(f64::from);
        add(&mut want[0][k], x * w);
        add(&mut want[1][i], g * w);
        add(&mut want[2][j], g * x);
    });
    for arithmetic in arithmetics() {
        let what = format!("{arithmetic} {what}");
        let [mut y, mut dx, mut dw] = [out.len(), x.len(), weights].map(|len| vec![f32::NAN; len]);
        conv2d(arithmetic, conv, (&xs, x), &ws, Some(&bias), false, (&mut y, out));
        assert_close(&y, &want[0], &what);
        conv2d(arithmetic, conv, (&xs, x), &ws, Some(&bias), true, (&mut y, out));
        let positive: Vec<_> = want[0].iter().map(|[v, size]| [v.max(0.0), *size]).collect();
        assert_close(&y, &positive, &what);
        conv2d_grad_input(arithmetic, conv, (&gs, out), &ws, Some(&back), (&mut dx, x));
        assert_close(&dx, &want[1], &what);
        conv2d_grad_weight(arithmetic, conv, (&xs, x), (&gs, out), &mut dw);
        assert_close(&dw, &want[2], &what);
    }
}

#[test]
fn equals_the_written_out_sums() {
    let seed = 7;
    println!("seed {seed}");
    for case in 0..150 {
        let rng = &mut stream(seed, 0, case);
        let groups = rng.random_range(1..=3);
        let conv = Conv {
            kernel: rng.random_range(1..=5),
            stride: rng.random_range(1..=3),
            padding: rng.random_range(0..=4),
            dilation: rng.random_range(1..=3),
            groups,
        };
        let x = Nhwc {
            n: rng.random_range(1..=3),
            c: groups * rng.random_range(1..=5),
            h: rng.random_range(1..=19),
            w: rng.random_range(1..=23),
        };
        let outs = groups * rng.random_range(1..=11);
        compare(&conv, x, outs, rng);
    }
}

/// Many channels and rows: several strips, blocks of channels and shares of the weight's gradient.
#[test]
fn equals_the_written_out_sums_in_many_strips() {
    let rng = &mut stream(8, 0, 0);
    let conv = Conv {
        kernel: 3,
        stride: 1,
        padding: 1,
        dilation: 1,
        groups: 1,
    };
    compare(
        &conv,
        Nhwc {
            n: 1,
            c: 2,
            h: 700,
            w: 130,
        },
        3,
        rng,
    );
    compare(
        &conv,
        Nhwc {
            n: 5,
            c: 37,
            h: 11,
            w: 12,
        },
        20,
        rng,
    );
    compare(
        &conv,
        Nhwc {
            n: 1,
            c: 48,
            h: 9,
            w: 40,
        },
        48,
        rng,
    );
    compare(
        &Conv { stride: 2, ..conv },
        Nhwc {
            n: 2,
            c: 33,
            h: 40,
            w: 37,
        },
        9,
        rng,
    );
    // Several pairs of groups of output channels, and several pieces a row.
    for stride in [1, 2] {
        let conv = Conv { stride, ..conv };
        compare(
            &conv,
            Nhwc {
                n: 2,
                c: 9,
                h: 12,
                w: 71,
            },
            50,
            rng,
        );
    }
    for padding in [0, 2] {
        let conv = Conv { padding, ..conv };
        compare(
            &conv,
            Nhwc {
                n: 2,
                c: 20,
                h: 13,
                w: 14,
            },
            21,
            rng,
        );
    }
    compare(
        &Conv { groups: 24, ..conv },
        Nhwc {
            n: 2,
            c: 24,
            h: 30,
            w: 31,
        },
        24,
        rng,
    );
}

#[test]
fn does_not_depend_on_threads() {
    let conv = Conv {
        kernel: 3,
        stride: 1,
        padding: 1,
        dilation: 1,
        groups: 1,
    };
    let shape = Nhwc {
        n: 3,
        c: 18,
        h: 50,
        w: 33,
    };
    let rng = &mut stream(9, 0, 0);
    let (x, g, w) = (
        normal(rng, shape.len()),
        normal(rng, shape.len()),
        normal(rng, 18 * 18 * 9),
    );
    let run = |arithmetic, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let [mut y, mut dx, mut dw] = [shape.len(), shape.len(), w.len()].map(|len| vec![0.0; len]);
            conv2d(arithmetic, &conv, (&x, shape), &w, None, false, (&mut y, shape));
            conv2d_grad_input(arithmetic, &conv, (&g, shape), &w, None, (&mut dx, shape));
            conv2d_grad_weight(arithmetic, &conv, (&x, shape), (&g, shape), &mut dw);
            [y, dx, dw]
        })
    };
    for arithmetic in arithmetics() {
        assert!(run(arithmetic, 1) == run(arithmetic, 3), "{arithmetic}");
    }
}

#[test]
#[should_panic(expected = "kernel: 3")]
fn refuses_shapes_that_do_not_fit() {
    let conv = Conv {
        kernel: 3,
        stride: 1,
        padding: 0,
        dilation: 1,
        groups: 1,
    };
    let shape = Nhwc { n: 1, c: 1, h: 4, w: 4 };
    conv2d(
        Arithmetic::in_f32(),
        &conv,
        (&[0.0; 16], shape),
        &[0.0; 9],
        None,
        false,
        (&mut [0.0; 16], shape),
    );
}
