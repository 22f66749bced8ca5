//! Convolution in bf16 with f32 sums on AMX tiles (Intel's Advanced Matrix Extensions): 16 positions by 32 products times
//! 32 products by 16 output channels an instruction.
//!
//! The taps of a row of the kernel are one run of memory, cut into pieces of 32 values that may reach across pixels: with
//! 16 channels one piece holds two taps. What a piece has beyond the run meets weights of zero.

use std::marker::PhantomData;

use super::tile::{Panel, Source, Target, start};
use crate::kernels::aligned::Aligned;
use crate::kernels::simd::{Vector, Work, run_best};

/// Environment variable: `emulated` lets bf16 run, slowly, on a CPU without AMX, for tests and to measure what it costs in
/// quality.
pub const BF16_VARIABLE: &str = "GST_CANDLE_BF16";

/// Values of a row of a tile.
pub(super) const DEPTH: usize = 32;
/// Rows of a tile: positions or, of weights, pairs of products.
pub(super) const ROWS: usize = 16;
/// Most positions of a block.
pub(super) const POSITIONS: usize = 4 * ROWS;
/// Weights of a tile.
pub(super) const TILE: usize = DEPTH * ROWS;
/// Sums of a block, for each of its positions one or two groups of 16 output channels.
#[repr(C, align(64))]
pub(super) struct Sums(pub [f32; POSITIONS * ROWS]);

impl Sums {
    pub const ZERO: Self = Self([0.0; POSITIONS * ROWS]);
}

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

/// Factors: 32 or, with one group, 64 rows of values, `step` apart from `first` on, in pieces that begin at `offsets`; and for each piece the
/// tiles of one or two `groups` of 16 columns.
pub(super) struct Block<'a> {
    pub x: &'a [u16],
    pub offsets: &'a [usize],
    pub first: usize,
    pub step: usize,
    pub rows: usize,
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

    /// The sums of a block's products.
    pub fn multiply(&self, block: Block, sums: &mut Sums) {
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
    /// In bf16.
    weights: Aligned,
}

impl TilePanel {
    /// For sums over `runs` runs of `len` products; `weight(out, k)`, `k` running over all.
    pub fn new(tiles: Tiles, outs: usize, runs: usize, len: usize, weight: impl Fn(usize, usize) -> f32) -> Self {
        let pieces = len.div_ceil(DEPTH);
        let mut packed = Vec::new();
        for first in (0..outs).step_by(2 * ROWS) {
            for (run, piece) in (0..runs * pieces).map(|k| (k / pieces, k % pieces)) {
                for group in (first..outs.min(first + 2 * ROWS)).step_by(ROWS) {
                    packed.extend((0..TILE).map(|at| {
                        // Pairs of products stand side by side.
                        let (out, k) = (group + at % DEPTH / 2, piece * DEPTH + at / DEPTH * 2 + at % 2);
                        let is_there = out < outs && k < len;
                        to_bf16(if is_there { weight(out, run * len + k) } else { 0.0 })
                    }));
                }
            }
        }
        let mut weights = Aligned::zeros(packed.len() / 2);
        as_bf16_mut(&mut weights).copy_from_slice(&packed);
        #[rustfmt::skip]
        return Self { tiles, outs, weights };
    }

    /// For each of `count` positions and every output channel the sum of the products of the pieces that begin at
    /// `offsets`, `step` values further for the next position. Positions up to a multiple of 64 are read.
    pub fn multiply<T: Stored>(&self, x: &[u16], offsets: &[usize], step: usize, count: usize, to: Target<T>) {
        assert!(count == 0 || to.out.len() >= (count - 1) * to.step + self.outs);
        let panel = self;
        #[rustfmt::skip]
        run_best(Multiply { panel, x, offsets, step, count, to });
    }
}

/// See [`TilePanel::multiply`].
struct Multiply<'a, T> {
    panel: &'a TilePanel,
    x: &'a [u16],
    offsets: &'a [usize],
    step: usize,
    count: usize,
    to: Target<'a, T>,
}

impl<T: Stored> Work for Multiply<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        #[rustfmt::skip]
        let Self { panel: TilePanel { tiles, outs, weights }, x, offsets, step, count, mut to } = self;
        let mut weights = as_bf16(weights);
        let mut sums = Sums::ZERO;
        let ready = Ready::new(*tiles);
        for channel in (0..*outs).step_by(2 * ROWS) {
            let groups = (outs - channel).div_ceil(ROWS).min(2);
            let (now, rest) = weights.split_at(offsets.len() * groups * TILE);
            weights = rest;
            // Four tiles of sums: a product is ready when three more have begun.
            let rows = POSITIONS / groups;
            for position in (0..count).step_by(rows) {
                let (first, weights) = (position * step, now);
                #[rustfmt::skip]
                ready.multiply(Block { x, offsets, first, step, rows, weights, groups }, &mut sums);
                let sums = sums.0.chunks_exact(groups * ROWS).take(count - position);
                for first in (channel..(channel + groups * ROWS).min(*outs)).step_by(V::LANES) {
                    finish::<V, T>(sums.clone(), first - channel, &mut to, position, first..*outs);
                }
            }
        }
    }
}

/// Finishes and stores the sums of positions from `position` on, those from place `at` on of each of them being of the channels from
/// the first of `channels` on.
#[inline(always)]
fn finish<'a, V: Vector, T: Stored>(
    sums: impl Iterator<Item = &'a [f32]>,
    at: usize,
    to: &mut Target<T>,
    position: usize,
    channels: std::ops::Range<usize>,
) {
    let (bias, floor) = (start::<V>(to.bias, channels.start), V::splat(to.floor));
    let left = channels.len();
    let outs = to.out[position * to.step + channels.start..].chunks_mut(to.step);
    if left >= V::LANES {
        for (sums, out) in sums.zip(outs) {
            T::store(V::load(&sums[at..]).add(bias).at_least(floor), out);
        }
    } else {
        for (sums, out) in sums.zip(outs) {
            T::store_part(V::load(&sums[at..]).add(bias).at_least(floor), &mut out[..left]);
        }
    }
}

/// A row in bf16 behind `before` zeros, with zeros up to the end of `out`.
pub(super) fn convert(row: &[f32], before: usize, out: &mut [f32]) {
    let out = between_zeros(before, row.len(), out);
    #[rustfmt::skip]
    run_best(Convert { row, out });
}

/// `len` values of bf16 in `out`, what is before and behind them filled with zeros.
pub(super) fn between_zeros(before: usize, len: usize, out: &mut [f32]) -> &mut [u16] {
    let (zeros, rest) = as_bf16_mut(out).split_at_mut(before);
    let (inside, after) = rest.split_at_mut(len);
    zeros.fill(0);
    after.fill(0);
    inside
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

/// What sums are stored as.
pub(crate) trait Stored: Copy {
    /// Stores all lanes.
    fn store<V: Vector>(x: V, out: &mut [Self]);
    /// Stores the first lanes, as many as `out` has room for.
    fn store_part<V: Vector>(x: V, out: &mut [Self]);
    /// [`Panel::multiply`], where it can store such values.
    fn multiply(panel: &Panel, from: Source, count: usize, to: Target<Self>);
}

impl Stored for f32 {
    #[inline(always)]
    fn store<V: Vector>(x: V, out: &mut [Self]) {
        x.store(out);
    }

    #[inline(always)]
    fn store_part<V: Vector>(x: V, out: &mut [Self]) {
        x.store_part(out, out.len());
    }

    fn multiply(panel: &Panel, from: Source, count: usize, to: Target<Self>) {
        panel.multiply(from, count, to);
    }
}

/// bf16.
impl Stored for u16 {
    #[inline(always)]
    fn store<V: Vector>(x: V, out: &mut [Self]) {
        Self::store_part(x, &mut out[..V::LANES]);
    }

    #[inline(always)]
    fn store_part<V: Vector>(x: V, out: &mut [Self]) {
        let mut values = [0.0; ROWS];
        x.store(&mut values);
        out.iter_mut().zip(values).for_each(|(out, x)| *out = to_bf16(x));
    }

    fn multiply(_: &Panel, _: Source, _: usize, _: Target<Self>) {
        unreachable!("rows in bf16 are made on tiles")
    }
}

/// What [`amx::multiply`] does.
fn emulate(block: Block, sums: &mut Sums) {
    #[rustfmt::skip]
    let Block { x, offsets, first, step, rows, weights, groups } = block;
    // As there, what is behind the block's sums stays.
    sums.0[..rows * groups * ROWS].fill(0.0);
    for (offset, weights) in offsets.iter().zip(weights.chunks_exact(groups * TILE)) {
        for (position, sums) in sums.0.chunks_exact_mut(groups * ROWS).take(rows).enumerate() {
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

    use super::{Block, DEPTH, ROWS, Sums, TILE};

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
    pub(super) fn multiply(block: Block, sums: &mut Sums) {
        #[rustfmt::skip]
        let Block { x, offsets, first, step, rows, weights, groups } = block;
        let most = offsets.iter().max().copied().unwrap_or(0);
        assert!(x.len() >= most + first + (rows - 1) * step + DEPTH);
        if offsets.is_empty() {
            return sums.0.fill(0.0);
        }
        assert!(weights.len() == offsets.len() * groups * TILE);
        // Tiles 0 to 3 sum up. The arguments are what is done with a piece, beginning with tile 4 where the first 16 positions are loaded
        // and tile 6 with the first weights, how many bytes of weights it takes, and how the sums are stored.
        macro_rules! products {
            ($multiply:literal, $bytes:literal, $store:literal $(, $name:ident = $value:expr)?) => {
                asm!(
                    "tilezero tmm0",
                    "tilezero tmm1",
                    "tilezero tmm2",
                    "tilezero tmm3",
                    "2:",
                    "mov {at}, [{offset}]",
                    "lea {piece}, [{x} + 2*{at}]",
                    "tileloadd tmm4, [{piece} + {stride}*1]",
                    "tileloadd tmm6, [{weight} + {row}*1]",
                    "lea {piece}, [{second} + 2*{at}]",
                    "tileloadd tmm5, [{piece} + {stride}*1]",
                    $multiply,
                    "add {offset}, 8",
                    concat!("add {weight}, ", $bytes),
                    "dec {count}",
                    "jnz 2b",
                    $store,
                    x = in(reg) &raw const x[first],
                    second = in(reg) &raw const x[first + ROWS * step],
                    $($name = in(reg) $value,)?
                    stride = in(reg) 2 * step,
                    sum = in(reg) sums.0.as_mut_ptr(),
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
        // there is a tile of weights for each piece and group, as asserted above; `sums` holds four tiles.
        unsafe {
            match (rows / ROWS, groups) {
                (2, 2) => products!(
                    "tileloadd tmm7, [{weight} + {row}*1 + 1024]
                     tdpbf16ps tmm0, tmm4, tmm6
                     tdpbf16ps tmm2, tmm5, tmm6
                     tdpbf16ps tmm1, tmm4, tmm7
                     tdpbf16ps tmm3, tmm5, tmm7",
                    "2048",
                    "shl {row}, 1
                     tilestored [{sum} + {row}*1], tmm0
                     tilestored [{sum} + {row}*1 + 64], tmm1
                     tilestored [{sum} + {row}*1 + 2048], tmm2
                     tilestored [{sum} + {row}*1 + 2112], tmm3"
                ),
                (2, 1) => products!(
                    "tdpbf16ps tmm0, tmm4, tmm6
                     tdpbf16ps tmm1, tmm5, tmm6",
                    "1024",
                    "tilestored [{sum} + {row}*1], tmm0
                     tilestored [{sum} + {row}*1 + 1024], tmm1"
                ),
                (4, 1) => products!(
                    "add {piece}, {tile}
                     tileloadd tmm7, [{piece} + {stride}*1]
                     tdpbf16ps tmm0, tmm4, tmm6
                     add {piece}, {tile}
                     tileloadd tmm4, [{piece} + {stride}*1]
                     tdpbf16ps tmm1, tmm5, tmm6
                     tdpbf16ps tmm2, tmm7, tmm6
                     tdpbf16ps tmm3, tmm4, tmm6",
                    "1024",
                    "tilestored [{sum} + {row}*1], tmm0
                     tilestored [{sum} + {row}*1 + 1024], tmm1
                     tilestored [{sum} + {row}*1 + 2048], tmm2
                     tilestored [{sum} + {row}*1 + 3072], tmm3",
                    tile = 2 * ROWS * step
                ),
                _ => unreachable!("{rows} rows, {groups} groups"),
            }
        }
    }
}
