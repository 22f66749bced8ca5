//! Each kernel of each instruction set against sums written out in f64, on memory that ends where the kernel must stop.

use rand::{Rng, RngExt};

use super::tile::{Panel, Source};
use super::*;
use crate::data::random::stream;
use crate::kernels::Isa;

fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_here())
}

fn values(rng: &mut impl Rng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-1.0..1.0)).collect()
}

/// What lies beyond an output and must stay.
const UNTOUCHED: f32 = 77.0;

#[test]
fn panels_multiply() {
    let seed = 51;
    for (case, isa) in (0..60).flat_map(|case| isas().map(move |isa| (case, isa))) {
        let rng = &mut stream(seed, 0, case);
        let (outs, chunks, len) = (rng.random_range(1..50), rng.random_range(1..5), rng.random_range(1..14));
        let (count, step) = (rng.random_range(0..70), rng.random_range(1..9));
        let weights = values(rng, outs * chunks * len);
        let offsets: Vec<usize> = (0..chunks).map(|_| rng.random_range(0..40)).collect();
        let last = offsets.iter().max().unwrap() + len + count.max(1) * step - step;
        let (x, bias) = (values(rng, last), values(rng, outs));
        let panel = Panel::new(isa, outs, chunks * len, |out, k| weights[out * chunks * len + k]);
        let pitch = outs + rng.random_range(0..3);
        let mut out = vec![UNTOUCHED; count.max(1) * pitch];
        let to = Target {
            out: &mut out,
            step: pitch,
            bias: &bias,
            floor: 0.0,
        };
        panel.multiply(
            Source {
                x: &x,
                offsets: &offsets,
                len,
                step,
            },
            count,
            to,
        );
        for (at, got) in out.iter().enumerate() {
            let (p, o) = (at / pitch, at % pitch);
            if o >= outs || p >= count {
                assert_eq!(*got, UNTOUCHED, "seed {seed} case {case} {isa}");
                continue;
            }
            let product = |k: usize| {
                let x = x[offsets[k / len] + k % len + p * step];
                f64::from(weights[o * chunks * len + k]) * f64::from(x)
            };
            let want = (0..chunks * len).map(product).sum::<f64>() + f64::from(bias[o]);
            assert!(
                (f64::from(*got) - want.max(0.0)).abs() < 1e-5,
                "seed {seed} case {case} {isa}: {got} for {want}"
            );
        }
    }
}

#[test]
fn winograd_convolves() {
    let seed = 52;
    for (case, isa) in (0..40).flat_map(|case| isas().map(move |isa| (case, isa))) {
        let rng = &mut stream(seed, 0, case);
        let (ins, outs, width) = (
            rng.random_range(16..40),
            rng.random_range(1..40),
            rng.random_range(1..230),
        );
        let weights = values(rng, outs * ins * 9);
        let filter = Winograd::new(isa, outs, ins, |o, i, tap| weights[(o * ins + i) * 9 + tap]);
        let count = tiles(width);
        let pitch = (TILE * count + 2) * ins;
        let x = values(rng, 3 * pitch);
        let size = filter.transformed(count);
        let mut transformed = vec![0.0; 3 * size];
        for (row, out) in x.chunks_exact(pitch).zip(transformed.chunks_exact_mut(size)) {
            filter.transform(row, count, out);
        }
        let (mut scratch, mut out) = (vec![0.0; filter.scratch()], vec![UNTOUCHED; width * outs]);
        let to = Target {
            out: &mut out,
            step: outs,
            bias: &[],
            floor: f32::NEG_INFINITY,
        };
        filter.multiply(&transformed, [0, size, 2 * size], width, &mut scratch, to);
        for (at, got) in out.iter().enumerate() {
            let (p, o) = (at / outs, at % outs);
            let (mut want, mut size) = (0.0, 0.0);
            for (i, tap) in (0..ins * 9).map(|k| (k / 9, k % 9)) {
                let x = x[tap / 3 * pitch + (p + tap % 3) * ins + i];
                let product = f64::from(x) * f64::from(weights[(o * ins + i) * 9 + tap]);
                want += product;
                size += product.abs();
            }
            assert!(
                (f64::from(*got) - want).abs() < 3e-6 * size,
                "seed {seed} case {case} {isa} [{at}]: {got} for {want} of {size}"
            );
        }
    }
}

#[test]
fn outer_products_add_up() {
    let seed = 53;
    for (case, isa) in (0..40).flat_map(|case| isas().map(move |isa| (case, isa))) {
        let rng = &mut stream(seed, 0, case);
        let (outs, count) = (rng.random_range(1..50), rng.random_range(1..20));
        let taps: Vec<usize> = (0..rng.random_range(1..30)).map(|_| rng.random_range(0..50)).collect();
        let steps = [rng.random_range(1..5), outs];
        let rows: Vec<[usize; 2]> = (0..rng.random_range(1..4))
            .map(|row| [row * 60, row * count * outs])
            .collect();
        let x = values(rng, 60 * rows.len() + 50 + count * steps[0]);
        let mut g = values(rng, rows.len() * count * outs);
        // What may be loaded beside the gradient must not count.
        g.resize(g.len() + Outer::SLACK, f32::NAN);
        let pitch = Outer::pitch(outs);
        let mut sums = vec![0.5; taps.len() * pitch];
        let (taps, rows) = (&taps[..], &rows[..]);
        Outer {
            x: &x,
            taps,
            g: &g,
            outs,
            steps,
            rows,
            count,
            sums: &mut sums,
        }
        .add(isa);
        for (m, tap) in taps.iter().enumerate() {
            for n in 0..outs {
                let product =
                    |row: &[usize; 2], k: usize| x[tap + row[0] + k * steps[0]] * g[row[1] + k * steps[1] + n];
                let want: f32 = 0.5
                    + rows
                        .iter()
                        .flat_map(|row| (0..count).map(move |k| product(row, k)))
                        .sum::<f32>();
                let got = sums[m * pitch + n];
                assert!(
                    (got - want).abs() < 1e-4,
                    "seed {seed} case {case} {isa}: {got} for {want}"
                );
            }
        }
    }
}
