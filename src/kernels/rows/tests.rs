use rand::RngExt;

use super::tile::{Panel, Source};
use super::*;
use crate::data::random::stream;
use crate::kernels::Isa;

fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_here())
}

#[test]
#[ignore]
fn speed() {
    for (ins, outs, width) in [(32, 32, 960), (64, 64, 640), (16, 16, 1280), (128, 128, 64)] {
        let isa = Isa::chosen().unwrap();
        let x = vec![0.5f32; 3 * (width + 8) * ins];
        let mut out = vec![0.0; width * outs];
        let panel = Panel::new(isa, outs, 9 * ins, |o, k| (o + k) as f32 * 1e-3);
        let wino = Winograd::new(isa, outs, ins, |o, i, k| (o + i + k) as f32 * 1e-3);
        let tiles = width / 4;
        let mut v = vec![0.0; 3 * wino.transformed(tiles)];
        let n = v.len() / 3;
        let mut scratch = vec![0.0; wino.scratch()];
        let work = 2.0 * 9.0 * (ins * outs * width) as f64;
        let offsets = [0, 1, 2].map(|r| r * (width + 8) * ins);
        let bias = vec![0.0; outs];
        let mut time = |name: &str, f: &mut dyn FnMut()| {
            let mut best = f64::MAX;
            for _ in 0..200 {
                let t = std::time::Instant::now();
                f();
                best = best.min(t.elapsed().as_secs_f64());
            }
            println!(
                "{ins} {outs} {width} {name} {:.1} GFLOP/s {:.1} us",
                work / best / 1e9,
                best * 1e6
            );
        };
        time("direct", &mut || {
            panel.multiply(
                Source {
                    x: &x,
                    offsets: &offsets,
                    len: 3 * ins,
                    step: ins,
                },
                width,
                Target {
                    out: &mut out,
                    step: outs,
                    bias: &bias,
                    floor: 0.0,
                },
            );
        });
        time("transform", &mut || wino.transform(&x, tiles, &mut v[..n]));
        time("winograd", &mut || {
            wino.transform(&x, tiles, &mut v[..n]);
            wino.multiply(
                &v,
                [0, n, 2 * n],
                width,
                &mut scratch,
                Target {
                    out: &mut out,
                    step: outs,
                    bias: &bias,
                    floor: 0.0,
                },
            );
        });
    }
}
