//! Each kernel of each instruction set against sums written out in f64, on memory that ends where the kernel must stop.

use rand::{Rng, RngExt};

use super::tile::{Panel, Source, Target};
use super::winograd::Winograd;
use super::*;
use crate::data::random::stream;
use crate::kernels::Isa;
use crate::kernels::conv::Conv;

fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_here())
}

fn values(rng: &mut impl Rng, len: usize) -> Guarded {
    Guarded::new((0..len).map(|_| rng.random_range(-1.0..1.0)))
}

/// Values that end where a page ends that must not be touched, so that a kernel that reads or writes one too many dies.
struct Guarded {
    start: *mut f32,
    len: usize,
    pages: (*mut libc::c_void, usize),
}

// SAFETY: it owns its pages, as a vector does.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn new(values: impl ExactSizeIterator<Item = f32>) -> Self {
        const PAGE: usize = 4096;
        let len = values.len();
        let bytes = (4 * len).next_multiple_of(PAGE) + PAGE;
        let (access, kind) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: a new mapping of whole pages; its last page is made inaccessible, and the values end where it begins.
        let (pages, start) = unsafe {
            let pages = libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0);
            assert_ne!(pages, libc::MAP_FAILED);
            let guard = pages.cast::<u8>().add(bytes - PAGE);
            assert_eq!(libc::mprotect(guard.cast(), PAGE, libc::PROT_NONE), 0);
            (pages, guard.cast::<f32>().sub(len))
        };
        let mut guarded = Self {
            start,
            len,
            pages: (pages, bytes),
        };
        guarded.iter_mut().zip(values).for_each(|(place, value)| *place = value);
        guarded
    }

    fn filled(len: usize, value: f32) -> Self {
        Self::new((0..len).map(|_| value))
    }
}

impl std::ops::Deref for Guarded {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: `new` mapped the values, and they live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl std::ops::DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: the same.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: `new` mapped these pages, and nothing borrows them any more.
        unsafe { libc::munmap(self.pages.0, self.pages.1) };
    }
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
        let mut out = Guarded::filled(count.max(1) * pitch, UNTOUCHED);
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
        let filter = Winograd::new(isa, 1, outs, ins, |o, i, tap| weights[(o * ins + i) * 9 + tap]);
        let count = usize::div_ceil(width, OUTPUTS);
        let pitch = (OUTPUTS * count + 2) * ins;
        let x = values(rng, 3 * pitch);
        let size = PRODUCTS * count * ins;
        let mut transformed = Guarded::filled(3 * size, 0.0);
        for (row, out) in x.chunks_exact(pitch).zip(transformed.chunks_exact_mut(size)) {
            filter.transform(row, out);
        }
        let (mut scratch, mut out) = (
            Guarded::filled(filter.scratch(), 0.0),
            Guarded::filled(width * outs, UNTOUCHED),
        );
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
        let mut g = values(rng, rows.len() * count * outs + Outer::SLACK);
        // What may be loaded beside the gradient must not count.
        g[rows.len() * count * outs..].fill(f32::NAN);
        let pitch = Outer::pitch(outs);
        let mut sums = Guarded::filled(taps.len() * pitch, 0.5);
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

/// bf16 keeps 8 bits of each factor: the sums of rounded factors must be met closely, those of the factors themselves to a
/// hundredth.
#[test]
fn tiles_convolve() {
    let seed = 54;
    let all = [Tiles::Emulated].into_iter().chain(Tiles::find());
    for (case, tiles) in (0..30).flat_map(|case| all.clone().map(move |tiles| (case, tiles))) {
        let rng = &mut stream(seed, 0, case);
        let (ins, outs, width) = (
            rng.random_range(1..70),
            rng.random_range(1..70),
            rng.random_range(1..90),
        );
        let conv = Conv {
            kernel: rng.random_range(1..6),
            stride: rng.random_range(1..3),
            padding: rng.random_range(0..3),
            dilation: rng.random_range(1..3),
            groups: 1,
        };
        let (Some(to), height) = (conv.output(width), conv.kernel * conv.dilation) else {
            continue;
        };
        let round = |x: f32| half::bf16::from_f32(x).to_f32();
        let weights: Vec<f32> = values(rng, outs * ins * conv.area())
            .iter()
            .map(|x| round(*x))
            .collect();
        let x = Guarded::new(values(rng, height * width * ins).iter().map(|x| round(*x)));
        let bias = values(rng, outs);
        let isa = Isa::used();
        let (arithmetic, weight) = (
            Arithmetic {
                isa,
                tiles: Some(tiles),
            },
            conv.weight(ins, &weights),
        );
        let filter = Filter::forward(arithmetic, &conv, [ins, outs], weight);
        let plain = Layout::new(ins, height, width);
        let layout = filter.prepared(&plain, to).unwrap();
        let mut data = Guarded::filled(layout.len(), 0.0);
        let source: Vec<f32> = vec![0.0; width * ins].into_iter().chain(x.iter().copied()).collect();
        for y in 0..height as isize {
            // What was there before must not matter.
            let out = &mut data[layout.row(y)];
            out.fill(f32::NAN);
            let view = View {
                data: &source,
                layout: &plain,
            };
            filter.prepare(view, y, out);
        }
        let row = rng.random_range(0..3);
        let mut out = Guarded::filled(to * outs, UNTOUCHED);
        let finish = Finish {
            bias: &bias,
            floor: -0.5,
        };
        let view = View {
            data: &data,
            layout: &layout,
        };
        filter.compute(view, row, to, finish, &mut Scratch::default(), &mut out);
        // The same in bf16, between zeros.
        let before = rng.random_range(0..40);
        let narrow = Narrow { before, width: to };
        let mut words = Guarded::filled((before + to * outs).div_ceil(2) + 3, f32::NAN);
        filter.compute_narrow(view, row, narrow, finish, &mut Scratch::default(), &mut words);
        for (at, got) in super::tiles::as_bf16(&words).iter().enumerate() {
            let want = at.checked_sub(before).and_then(|at| out.get(at)).copied();
            let want = half::bf16::from_f32(want.unwrap_or(0.0)).to_bits();
            assert_eq!(
                *got, want,
                "seed {seed} case {case} {tiles:?} {conv:?} {ins} to {outs} [{at}]"
            );
        }
        for (at, got) in out.iter().enumerate() {
            let (p, o) = (at / outs, at % outs);
            let mut want = f64::from(bias[o]);
            for (i, tap) in (0..ins * conv.area()).map(|k| (k / conv.area(), k % conv.area())) {
                let place = |at: usize, tap: usize| (at * conv.stride + tap * conv.dilation).wrapping_sub(conv.padding);
                let (y, c) = (place(row, tap / conv.kernel), place(p, tap % conv.kernel));
                if y < height && c < width {
                    let weight = weights[(o * ins + i) * conv.area() + tap];
                    want += f64::from(x[(y * width + c) * ins + i]) * f64::from(weight);
                }
            }
            let want = want.max(-0.5);
            assert!(
                (f64::from(*got) - want).abs() < 1e-4,
                "seed {seed} case {case} {tiles:?} {conv:?} {ins} to {outs}, {width} wide [{at}]: {got} for {want}"
            );
        }
    }
}

#[test]
fn values_are_rounded_to_the_nearest_bf16() {
    let edge = f32::from_bits(0x3f80_8000);
    let row = [
        1.0,
        -2.5,
        edge,
        f32::from_bits(0x3f81_8000),
        3.0e38,
        f32::INFINITY,
        f32::from_bits(0x7fff_ffff),
        1e-40,
    ];
    let mut data = [f32::NAN; 6];
    super::tiles::convert(&row, 2, &mut data);
    assert!(data[0] == 0.0 && data[5] == 0.0);
    for (i, x) in row.into_iter().enumerate() {
        let word = data[1 + i / 2].to_bits();
        let got = half::bf16::from_bits((word >> (16 * (i % 2))) as u16);
        let want = half::bf16::from_f32(x);
        assert!(got == want || (got.is_nan() && want.is_nan()), "{x}: {got} for {want}");
    }
}
