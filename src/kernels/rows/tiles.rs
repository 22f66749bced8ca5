//! Convolution in bf16 with f32 sums on AMX tiles (Intel's Advanced Matrix Extensions): 16 positions by 32 products times
//! 32 products by 16 output channels an instruction.
//!
//! The taps of a row of the kernel are one run of memory, cut into pieces of 32 values that may reach across pixels: with
//! 16 channels one piece holds two taps. What a piece has beyond the run meets weights of zero.

use std::marker::PhantomData;

use super::tile::{Target, start, store};
use crate::kernels::simd::{Vector, Work, run_best};

/// Environment variable: `emulated` lets bf16 run, slowly, on a CPU without AMX, for tests and to measure what it costs in
/// quality.
pub const BF16_VARIABLE: &str = "GST_CANDLE_BF16";

/// Values of a row of a tile.
pub(super) const DEPTH: usize = 32;
/// Rows of a tile: positions or, of weights, pairs of products.
pub(super) const ROWS: usize = 16;
/// Positions of a block: two tiles.
pub(super) const POSITIONS: usize = 2 * ROWS;
/// Weights of a tile.
pub(super) const TILE: usize = DEPTH * ROWS;
/// Sums of a block's positions and two groups of 16 output channels.
pub(super) const SUMS: usize = POSITIONS * 2 * ROWS;

/// What multiplies tiles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tiles {
    /// The CPU.
    Amx,
    /// Loops.
    Emulated,
}

impl Tiles {
    /// Refuses a value of [`BF16_VARIABLE`] that means nothing.
    pub(super) fn check_variable() -> Result<(), &'static str> {
        match std::env::var(BF16_VARIABLE).as_deref() {
            Err(_) | Ok("" | "emulated") => Ok(()),
            Ok(_) => Err("GST_CANDLE_BF16 has a value that means nothing; write emulated, or unset it"),
        }
    }

    /// AMX where CPU and system have it, else loops where [`BF16_VARIABLE`] asks for them.
    pub fn find() -> Option<Self> {
        if std::env::var(BF16_VARIABLE).is_ok_and(|value| value == "emulated") {
            return Some(Self::Emulated);
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if amx::is_here() {
            return Some(Self::Amx);
        }
        None
    }
}

/// Factors: 32 rows of values, `step` apart from `first` on, in pieces that begin at `offsets`; and for each piece the tiles of
/// one or two `groups` of 16 columns.
pub(super) struct Block<'a> {
    pub x: &'a [u16],
    pub offsets: &'a [usize],
    pub first: usize,
    pub step: usize,
    pub weights: &'a [u16],
    pub groups: usize,
}

/// Tiles ready for use on this thread alone, until this is dropped.
pub(super) struct Ready(Tiles, PhantomData<*const ()>);

impl Ready {
    pub fn new(tiles: Tiles) -> Self {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if tiles == Tiles::Amx {
            amx::begin();
        }
        Self(tiles, PhantomData)
    }

    /// The sums of a block's products: `sums` has 32 values for each of its rows.
    pub fn multiply(&self, block: Block, sums: &mut [f32; SUMS]) {
        match self.0 {
            Tiles::Emulated => emulate(block, sums),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Tiles::Amx => amx::multiply(block, sums),
            #[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
            Tiles::Amx => unreachable!("not found on this system"),
        }
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if self.0 == Tiles::Amx {
            amx::end();
        }
    }
}

/// Weights of some output channels in tiles, in the order of their use: for each pair of groups of 16 output channels (the
/// last may be alone), all pieces.
pub(super) struct TilePanel {
    tiles: Tiles,
    outs: usize,
    weights: Vec<u16>,
}

impl TilePanel {
    /// For sums over `runs` runs of `len` products; `weight(out, k)`, `k` running over all.
    pub fn new(tiles: Tiles, outs: usize, runs: usize, len: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let pieces = len.div_ceil(DEPTH);
        let mut weights = Vec::new();
        for first in (0..outs).step_by(2 * ROWS) {
            for (run, piece) in (0..runs * pieces).map(|k| (k / pieces, k % pieces)) {
                for group in (first..outs.min(first + 2 * ROWS)).step_by(ROWS) {
                    weights.extend((0..TILE).map(|at| {
                        // Pairs of products stand side by side.
                        let (out, k) = (group + at % DEPTH / 2, piece * DEPTH + at / DEPTH * 2 + at % 2);
                        let is_there = out < outs && k < len;
                        to_bf16(if is_there { weight(out, run * len + k) } else { 0.0 })
                    }));
                }
            }
        }
        #[rustfmt::skip]
        return Self { tiles, outs, weights };
    }

    /// For each of `count` positions and every output channel the sum of the products of the pieces that begin at
    /// `offsets`, `step` values further for the next position. Positions up to a multiple of 32 are read.
    pub fn multiply(&self, x: &[u16], offsets: &[usize], step: usize, count: usize, mut to: Target) {
        assert!(count == 0 || to.out.len() >= (count - 1) * to.step + self.outs);
        let mut weights = self.weights.as_slice();
        let mut sums = [0.0; SUMS];
        let ready = Ready::new(self.tiles);
        for channel in (0..self.outs).step_by(2 * ROWS) {
            let groups = (self.outs - channel).div_ceil(ROWS).min(2);
            let (now, rest) = weights.split_at(offsets.len() * groups * TILE);
            weights = rest;
            for first in (0..count).step_by(POSITIONS) {
                let block = Block {
                    x,
                    offsets,
                    first: first * step,
                    step,
                    weights: now,
                    groups,
                };
                ready.multiply(block, &mut sums);
                let count = POSITIONS.min(count - first);
                let channels = channel..self.outs.min(channel + 2 * ROWS);
                let (sums, to) = (&sums, &mut to);
                #[rustfmt::skip]
                run_best(Store { sums, first, count, channels, to });
            }
        }
    }
}

/// A row in bf16 behind `before` zeros, with zeros up to the end of `out`.
pub(super) fn convert(row: &[f32], before: usize, out: &mut [f32]) {
    let (zeros, rest) = as_bf16_mut(out).split_at_mut(before);
    let (inside, after) = rest.split_at_mut(row.len());
    zeros.fill(0);
    after.fill(0);
    #[rustfmt::skip]
    run_best(Convert { row, out: inside });
}

/// The nearest bf16, ties to even; NaN stays NaN.
#[inline(always)]
pub(super) fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    (if x.is_nan() { (bits >> 16) | 0x40 } else { rounded }) as u16
}

fn from_bf16(x: u16) -> f32 {
    f32::from_bits(u32::from(x) << 16)
}

/// The words of f32 memory that holds bf16.
pub(super) fn as_bf16(x: &[f32]) -> &[u16] {
    // SAFETY: an f32 is two u16 of any value, and needs no less alignment.
    unsafe { std::slice::from_raw_parts(x.as_ptr().cast(), 2 * x.len()) }
}

pub(super) fn as_bf16_mut(x: &mut [f32]) -> &mut [u16] {
    // SAFETY: an f32 is two u16 of any value, and needs no less alignment.
    unsafe { std::slice::from_raw_parts_mut(x.as_mut_ptr().cast(), 2 * x.len()) }
}

struct Convert<'a> {
    row: &'a [f32],
    out: &'a mut [u16],
}

impl Work for Convert<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        self.out
            .iter_mut()
            .zip(self.row)
            .for_each(|(out, x)| *out = to_bf16(*x));
    }
}

/// Stores the sums of `count` positions from `first` on.
struct Store<'a, 'b> {
    sums: &'a [f32; SUMS],
    first: usize,
    count: usize,
    channels: std::ops::Range<usize>,
    to: &'a mut Target<'b>,
}

impl Work for Store<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        let floor = V::splat(self.to.floor);
        for channel in self.channels.clone().step_by(V::LANES) {
            let bias = start::<V>(self.to.bias, channel);
            for position in 0..self.count {
                let sum = V::load(&self.sums[position * 2 * ROWS + channel - self.channels.start..]).add(bias);
                let out = &mut self.to.out[(self.first + position) * self.to.step + channel..];
                store(sum.at_least(floor), out, self.channels.end - channel);
            }
        }
    }
}

/// What [`amx::multiply`] does.
fn emulate(block: Block, sums: &mut [f32; SUMS]) {
    #[rustfmt::skip]
    let Block { x, offsets, first, step, weights, groups } = block;
    sums.fill(0.0);
    for (offset, weights) in offsets.iter().zip(weights.chunks_exact(groups * TILE)) {
        for (position, sums) in sums.chunks_exact_mut(2 * ROWS).enumerate() {
            let x = &x[offset + first + position * step..][..DEPTH];
            for (weights, sums) in weights.chunks_exact(TILE).zip(sums.chunks_exact_mut(ROWS)) {
                for (pair, weights) in x.chunks_exact(2).zip(weights.chunks_exact(DEPTH)) {
                    let [a, b] = [from_bf16(pair[0]), from_bf16(pair[1])];
                    for (sum, weight) in sums.iter_mut().zip(weights.chunks_exact(2)) {
                        *sum += a * from_bf16(weight[0]) + b * from_bf16(weight[1]);
                    }
                }
            }
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx {
    use std::arch::asm;
    use std::arch::x86_64::__cpuid_count;
    use std::sync::OnceLock;

    use super::{Block, DEPTH, POSITIONS, ROWS, SUMS, TILE};

    /// Whether this CPU has AMX with bf16, and the system lets this process use it.
    pub(super) fn is_here() -> bool {
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        static HERE: OnceLock<bool> = OnceLock::new();
        *HERE.get_or_init(|| {
            if !is_x86_feature_detected!("avx512f") {
                return false;
            }
            // A CPU with AVX-512 has leaf 7.
            let features = __cpuid_count(7, 0).edx;
            let (bf16, tile) = (features & 1 << 22 != 0, features & 1 << 24 != 0);
            // SAFETY: the call reads no memory of ours; an older system answers with an error.
            bf16 && tile && unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) } == 0
        })
    }

    /// All eight tiles are 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        start_row: u8,
        reserved: [u8; 14],
        bytes: [u16; 16],
        rows: [u8; 16],
    }

    static CONFIG: Config = Config {
        palette: 1,
        start_row: 0,
        reserved: [0; 14],
        bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };

    /// Makes this thread's tiles ready for [`multiply`]. Only where [`is_here`] found AMX.
    pub(super) fn begin() {
        assert!(is_here());
        // SAFETY: the CPU has AMX and the system allows it; the tiles hold nothing yet.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIG, options(nostack, readonly)) }
    }

    /// Gives the tiles up, so that the system need not save them.
    pub(super) fn end() {
        assert!(is_here());
        // SAFETY: the CPU has AMX; the tiles hold nothing that is still needed.
        unsafe { asm!("tilerelease", options(nostack, nomem)) }
    }

    /// See [`super::Ready::multiply`]. Only between [`begin`] and [`end`].
    pub(super) fn multiply(block: Block, sums: &mut [f32; SUMS]) {
        #[rustfmt::skip]
        let Block { x, offsets, first, step, weights, groups } = block;
        let most = offsets.iter().max().copied().unwrap_or(0);
        assert!(x.len() >= most + first + (POSITIONS - 1) * step + DEPTH);
        if offsets.is_empty() {
            return sums.fill(0.0);
        }
        assert!(weights.len() == offsets.len() * groups * TILE && (1..=2).contains(&groups));
        let [x, second] = [first, first + ROWS * step].map(|at| &raw const x[at]);
        // Tiles 0 to 3 sum up: 0 and 1 the first 16 positions, 2 and 3 the others; 4 and 5 are positions, 6 and 7 weights.
        // The arguments are what is done for the second 16 output channels.
        macro_rules! products {
            ($zero:literal, $load:literal, $multiply:literal, $bytes:literal, $store:literal) => {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm2",
                    $zero,
                    "2:",
                    "mov {at}, [{offset}]",
                    "lea {piece}, [{x} + 2*{at}]",
                    "tileloadd tmm4, [{piece} + {stride}*1]",
                    "tileloadd tmm6, [{weight} + {row}*1]",
                    "lea {piece}, [{second} + 2*{at}]",
                    "tileloadd tmm5, [{piece} + {stride}*1]",
                    $load,
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    $multiply,
                    "add {offset}, 8",
                    concat!("add {weight}, ", $bytes),
                    "dec {count}",
                    "jnz 2b",
                    "shl {row}, 1",
                    "tilestored [{sum} + {row}*1], tmm0",
                    "tilestored [{sum} + {row}*1 + 2048], tmm2",
                    $store,
                    x = in(reg) x,
                    second = in(reg) second,
                    stride = in(reg) 2 * step,
                    sum = in(reg) sums.as_mut_ptr(),
                    offset = inout(reg) offsets.as_ptr() => _,
                    weight = inout(reg) weights.as_ptr() => _,
                    count = inout(reg) offsets.len() => _,
                    row = inout(reg) 64usize => _,
                    at = out(reg) _,
                    piece = out(reg) _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                )
            };
        }
        // SAFETY: the CPU has AMX and its tiles are configured (`begin`). The last piece of the last position lies in `x`, and
        // there is a tile of weights for each piece and group, as asserted above; `sums` holds both groups.
        unsafe {
            if groups == 2 {
                products!(
                    "tilezero tmm1\ntilezero tmm3",
                    "tileloadd tmm7, [{weight} + {row}*1 + 1024]",
                    "tdpbf16ps tmm1, tmm4, tmm7\ntdpbf16ps tmm3, tmm5, tmm7",
                    "2048",
                    "tilestored [{sum} + {row}*1 + 64], tmm1\ntilestored [{sum} + {row}*1 + 2112], tmm3"
                );
            } else {
                products!("", "", "", "1024", "");
            }
        }
    }
}
