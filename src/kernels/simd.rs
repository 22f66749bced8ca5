//! Vector registers, and how a kernel that is written once over [`Vector`] is compiled for each instruction set.

use std::sync::OnceLock;

/// Environment variable that names the [`Isa`] to use, for tests and comparisons.
pub const ISA_VARIABLE: &str = "GST_CANDLE_ISA";

/// A register of f32 values. The methods of a type must run only on a CPU that has its instructions: values of these
/// types are made nowhere but in a [`Work`] that [`run`] called after asking the CPU.
pub(super) trait Vector: Copy {
    const LANES: usize;
    fn splat(x: f32) -> Self;
    /// The first `LANES` values of `x`; panics when there are fewer.
    fn load(x: &[f32]) -> Self;
    /// Writes to the first `LANES` values of `out`; panics when there are fewer.
    fn store(self, out: &mut [f32]);
    /// Writes the first `count` lanes to `out`; panics when there is no room.
    fn store_part(self, out: &mut [f32], count: usize);
    fn add(self, other: Self) -> Self;
    fn sub(self, other: Self) -> Self;
    fn mul(self, other: Self) -> Self;
    /// `self + a · b`.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// `self`, but not below `floor`; NaN stays NaN.
    fn at_least(self, floor: Self) -> Self;
    /// Sum of the lanes, in a fixed order.
    fn sum(self) -> f32;
}

/// A kernel. `run` must be `#[inline(always)]`, and so must everything that it calls with a `V`, so that the compiler
/// sees the instruction set at every intrinsic.
pub(super) trait Work {
    type Output;
    fn run<V: Vector>(self) -> Self::Output;
}

/// Runs `work` with the registers of `isa`.
pub(super) fn run<W: Work>(isa: Isa, work: W) -> W::Output {
    assert!(isa.is_here());
    match isa {
        Isa::Portable => work.run::<[f32; 4]>(),
        // SAFETY: `is_here` found AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { x86::avx2(work) },
        // SAFETY: `is_here` found AVX-512.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { x86::avx512(work) },
        #[cfg(not(target_arch = "x86_64"))]
        _ => unreachable!("asserted above"),
    }
}

/// Instruction sets that kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum Isa {
    /// Whatever the compiler makes of four lanes.
    Portable,
    /// AVX2 with FMA.
    Avx2,
    /// AVX-512 F and VL.
    Avx512,
}

impl Isa {
    /// All, the best last.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512];

    /// f32 values of a register.
    pub(crate) fn lanes(self) -> usize {
        match self {
            Self::Portable => 4,
            Self::Avx2 => 8,
            Self::Avx512 => 16,
        }
    }

    /// Whether this CPU has it.
    pub fn is_here(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            // Without VL the compiler may use but half of the registers beside 128-bit sums.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl"),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// What kernels use: what [`ISA_VARIABLE`] names, else the best that this CPU has. The error says what is wrong with
    /// the variable.
    pub fn chosen() -> Result<Self, &'static str> {
        static CHOSEN: OnceLock<Result<Isa, String>> = OnceLock::new();
        let choose = || match std::env::var(ISA_VARIABLE) {
            Ok(name) => Self::named(&name),
            Err(_) => Ok(Self::best()),
        };
        CHOSEN.get_or_init(choose).as_ref().copied().map_err(String::as_str)
    }

    /// [`Isa::chosen`], or the best of this CPU where that is an error.
    pub(super) fn used() -> Self {
        Self::chosen().unwrap_or_else(|_| Self::best())
    }

    fn best() -> Self {
        let here = Self::ALL.into_iter().filter(|isa| isa.is_here());
        here.last().expect("there is always the portable one")
    }

    fn named(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|isa| isa.to_string() == name);
        match found {
            Some(isa) if isa.is_here() => Ok(isa),
            Some(_) => Err(format!("{ISA_VARIABLE}={name}: this CPU does not have it")),
            None => {
                let names = Self::ALL.map(|isa| isa.to_string()).join(", ");
                Err(format!(
                    "{ISA_VARIABLE}={name}: there is no such instruction set; write one of {names}"
                ))
            }
        }
    }
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

impl Vector for [f32; 4] {
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(x: f32) -> Self {
        [x; 4]
    }

    #[inline(always)]
    fn load(x: &[f32]) -> Self {
        [x[0], x[1], x[2], x[3]]
    }

    #[inline(always)]
    fn store(self, out: &mut [f32]) {
        out[..4].copy_from_slice(&self);
    }

    #[inline(always)]
    fn store_part(self, out: &mut [f32], count: usize) {
        out[..count].iter_mut().zip(self).for_each(|(out, x)| *out = x);
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] + other[i])
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] - other[i])
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] * other[i])
    }

    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] + a[i] * b[i])
    }

    #[inline(always)]
    fn at_least(self, floor: Self) -> Self {
        std::array::from_fn(|i| if self[i] < floor[i] { floor[i] } else { self[i] })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        (self[0] + self[1]) + (self[2] + self[3])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Vector, Work};

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn avx2<W: Work>(work: W) -> W::Output {
        work.run::<__m256>()
    }

    #[target_feature(enable = "avx512f,avx512vl")]
    pub(super) fn avx512<W: Work>(work: W) -> W::Output {
        work.run::<__m512>()
    }

    /// [`Vector`] by intrinsics: the type, its lanes, how a CPU with it is called, and the intrinsics.
    macro_rules! vector {
        ($type:ty, $lanes:literal, $set1:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $mul:ident, $fma:ident, $max:ident, $store_part:ident, $sum:ident) => {
            impl Vector for $type {
                const LANES: usize = $lanes;

                #[inline(always)]
                fn splat(x: f32) -> Self {
                    // SAFETY: the CPU has the instruction (see `Vector`).
                    unsafe { $set1(x) }
                }

                #[inline(always)]
                fn load(x: &[f32]) -> Self {
                    // SAFETY: the slice is as long, and the CPU has the instruction (see `Vector`).
                    unsafe { $load(x[..$lanes].as_ptr()) }
                }

                #[inline(always)]
                fn store(self, out: &mut [f32]) {
                    // SAFETY: the slice is as long, and the CPU has the instruction (see `Vector`).
                    unsafe { $store(out[..$lanes].as_mut_ptr(), self) }
                }

                #[inline(always)]
                fn store_part(self, out: &mut [f32], count: usize) {
                    $store_part(self, &mut out[..count.min($lanes)]);
                }

                #[inline(always)]
                fn add(self, other: Self) -> Self {
                    // SAFETY: the CPU has the instruction (see `Vector`).
                    unsafe { $add(self, other) }
                }

                #[inline(always)]
                fn sub(self, other: Self) -> Self {
                    // SAFETY: the CPU has the instruction (see `Vector`).
                    unsafe { $sub(self, other) }
                }

                #[inline(always)]
                fn mul(self, other: Self) -> Self {
                    // SAFETY: the CPU has the instruction (see `Vector`).
                    unsafe { $mul(self, other) }
                }

                #[inline(always)]
                fn mul_add(self, a: Self, b: Self) -> Self {
                    // SAFETY: the CPU has the instruction (see `Vector`).
                    unsafe { $fma(a, b, self) }
                }

                #[inline(always)]
                fn at_least(self, floor: Self) -> Self {
                    // The instruction gives its second operand when either is NaN.
                    // SAFETY: the CPU has the instruction (see `Vector`).
                    unsafe { $max(floor, self) }
                }

                #[inline(always)]
                fn sum(self) -> f32 {
                    $sum(self)
                }
            }
        };
    }

    vector!(
        __m256,
        8,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_mul_ps,
        _mm256_fmadd_ps,
        _mm256_max_ps,
        store_part_of_eight,
        sum_of_eight
    );
    vector!(
        __m512,
        16,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_mul_ps,
        _mm512_fmadd_ps,
        _mm512_max_ps,
        store_part_of_sixteen,
        sum_of_sixteen
    );

    #[inline(always)]
    fn store_part_of_eight(x: __m256, out: &mut [f32]) {
        const MASKS: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: the mask is read from inside of `MASKS`, as `out` has at most 8 values, and lets but these be written; the
        // CPU has the instructions (see `Vector`).
        unsafe {
            let mask = _mm256_loadu_si256(MASKS.as_ptr().add(8 - out.len()).cast());
            _mm256_maskstore_ps(out.as_mut_ptr(), mask, x);
        }
    }

    #[inline(always)]
    fn store_part_of_sixteen(x: __m512, out: &mut [f32]) {
        // SAFETY: the mask lets but the values of `out` be written; the CPU has the instruction (see `Vector`).
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), ((1u32 << out.len()) - 1) as u16, x) }
    }

    #[inline(always)]
    fn sum_of_eight(x: __m256) -> f32 {
        let mut lanes = [0.0; 8];
        x.store(&mut lanes);
        let half: [f32; 4] = std::array::from_fn(|i| lanes[i] + lanes[i + 4]);
        half.sum()
    }

    #[inline(always)]
    fn sum_of_sixteen(x: __m512) -> f32 {
        // SAFETY: the CPU has the instruction (see `Vector`).
        unsafe { _mm512_reduce_add_ps(x) }
    }
}

/// Most output channels in one tile of [`gather`], over all instruction sets.
const MAX_BLOCK: usize = 8;
/// Most positions in one tile of [`gather`], over all instruction sets.
pub(super) const MAX_TILE: usize = 48;

/// Weights in the order in which [`gather`] reads them: blocks of output channels, in each the `depth` products of a
/// position, in each the channels of the block side by side.
pub(super) struct Packed {
    isa: Isa,
    outs: usize,
    depth: usize,
    block: usize,
    data: Vec<f32>,
}

impl Packed {
    /// Packs `weight(out, source, tap)` for `outs` output channels; the products of a position run over the taps of
    /// one source channel, then over those of the next.
    pub(super) fn new(outs: usize, ins: usize, taps: usize, weight: impl Fn(usize, usize, usize) -> f32) -> Self {
        Self::for_isa(Isa::used(), outs, ins, taps, weight)
    }

    fn for_isa(isa: Isa, outs: usize, ins: usize, taps: usize, weight: impl Fn(usize, usize, usize) -> f32) -> Self {
        let block = match isa {
            Isa::Avx512 => MAX_BLOCK,
            _ => 4,
        };
        let mut data = Vec::with_capacity(outs.next_multiple_of(block) * ins * taps);
        for first in (0..outs).step_by(block) {
            let width = (outs - first).min(block).next_power_of_two();
            for source in 0..ins {
                for tap in 0..taps {
                    let of = |out| if out < outs { weight(out, source, tap) } else { 0.0 };
                    data.extend((first..first + width).map(of));
                }
            }
        }
        Self {
            outs,
            depth: ins * taps,
            isa,
            block,
            data,
        }
    }
}

/// For every output channel `m` and position `p` in `0..len`: `Σ_k weights[m, k] · x[offsets[k] + p]`.
///
/// `emit(m, p, tile, width)` gets the results tile by tile: a row of `width` values for each of some channels from `m` on,
/// the positions from `p` on; the last tile runs past `len` by less than [`MAX_TILE`], and `x` must reach as far.
pub(super) fn gather(
    weights: &Packed,
    offsets: &[usize],
    x: &[f32],
    len: usize,
    emit: &mut impl FnMut(usize, usize, &[f32], usize),
) {
    assert_eq!(offsets.len(), weights.depth);
    #[rustfmt::skip]
    run(weights.isa, Gather { weights, offsets, x, len, emit });
}

struct Gather<'a, E> {
    weights: &'a Packed,
    offsets: &'a [usize],
    x: &'a [f32],
    len: usize,
    emit: &'a mut E,
}

impl<E: FnMut(usize, usize, &[f32], usize)> Work for Gather<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        match V::LANES {
            4 => gather_tiles::<V, 4, 2>(self.weights, self.offsets, self.x, self.len, self.emit),
            8 => gather_tiles::<V, 4, 3>(self.weights, self.offsets, self.x, self.len, self.emit),
            _ => gather_tiles::<V, 8, 3>(self.weights, self.offsets, self.x, self.len, self.emit),
        }
    }
}

#[inline(always)]
fn gather_tiles<V: Vector, const M: usize, const N: usize>(
    weights: &Packed,
    offsets: &[usize],
    x: &[f32],
    len: usize,
    emit: &mut impl FnMut(usize, usize, &[f32], usize),
) {
    debug_assert_eq!(weights.block, M);
    let width = N * V::LANES;
    let mut tile = [0.0; MAX_BLOCK * MAX_TILE];
    for p in (0..len).step_by(width) {
        let x = &x[p..];
        for first in (0..weights.outs).step_by(M) {
            let w = &weights.data[first * weights.depth..];
            match weights.outs - first {
                1 => gather_tile::<V, 1, N>(w, offsets, x, &mut tile),
                2 => gather_tile::<V, 2, N>(w, offsets, x, &mut tile),
                3 | 4 => gather_tile::<V, 4, N>(w, offsets, x, &mut tile),
                _ => gather_tile::<V, M, N>(w, offsets, x, &mut tile),
            }
            emit(first, p, &tile, width);
        }
    }
}

#[inline(always)]
fn gather_tile<V: Vector, const M: usize, const N: usize>(w: &[f32], offsets: &[usize], x: &[f32], tile: &mut [f32]) {
    let mut sums = [[V::splat(0.0); N]; M];
    for (w, &offset) in w.chunks_exact(M).zip(offsets) {
        let x = &x[offset..offset + N * V::LANES];
        let x: [V; N] = std::array::from_fn(|n| V::load(&x[n * V::LANES..]));
        for m in 0..M {
            let w = V::splat(w[m]);
            for n in 0..N {
                sums[m][n] = sums[m][n].mul_add(w, x[n]);
            }
        }
    }
    for (sums, row) in sums.iter().zip(tile.chunks_exact_mut(N * V::LANES)) {
        for (sum, out) in sums.iter().zip(row.chunks_exact_mut(V::LANES)) {
            sum.store(out);
        }
    }
}

/// Adds `Σ_p g[m · pitch + p] · x[offsets[k] + p]`, `p` in `0..len`, to `sums[m, k]`, for every row `m` of `g`.
/// `len` is a multiple of 16.
pub(super) fn correlate(g: &[f32], pitch: usize, x: &[f32], offsets: &[usize], len: usize, sums: &mut [f32]) {
    correlate_with(Isa::used(), g, pitch, x, offsets, len, sums);
}

fn correlate_with(isa: Isa, g: &[f32], pitch: usize, x: &[f32], offsets: &[usize], len: usize, sums: &mut [f32]) {
    assert!(len.is_multiple_of(16) && len <= pitch);
    #[rustfmt::skip]
    run(isa, Correlate { g, pitch, x, offsets, len, sums });
}

struct Correlate<'a> {
    g: &'a [f32],
    pitch: usize,
    x: &'a [f32],
    offsets: &'a [usize],
    len: usize,
    sums: &'a mut [f32],
}

impl Work for Correlate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<V: Vector>(self) {
        match V::LANES {
            4 => correlate_rows::<V, 2, 3>(self.g, self.pitch, self.x, self.offsets, self.len, self.sums),
            8 => correlate_rows::<V, 4, 2>(self.g, self.pitch, self.x, self.offsets, self.len, self.sums),
            _ => correlate_rows::<V, 4, 6>(self.g, self.pitch, self.x, self.offsets, self.len, self.sums),
        }
    }
}

#[inline(always)]
fn correlate_rows<V: Vector, const M: usize, const K: usize>(
    g: &[f32],
    pitch: usize,
    x: &[f32],
    offsets: &[usize],
    len: usize,
    sums: &mut [f32],
) {
    let depth = offsets.len();
    // The M rows of `g` stay in the first-level cache while those of `x` pass by.
    for (g, sums) in g.chunks(M * pitch).zip(sums.chunks_mut(M * depth)) {
        for first in (0..depth).step_by(K) {
            let count = K.min(depth - first);
            // A short last block computes its first product several times.
            let x: [&[f32]; K] = std::array::from_fn(|k| {
                let offset = offsets[first + if k < count { k } else { 0 }];
                &x[offset..offset + len]
            });
            let mut out = [[0.0; K]; M];
            match sums.len() / depth {
                rows if rows == M => correlate_tile::<V, M, K>(g, pitch, &x, len, &mut out),
                rows => {
                    for m in 0..rows {
                        let (out, _) = out[m..].split_first_chunk_mut::<1>().expect("there are M rows");
                        correlate_tile::<V, 1, K>(&g[m * pitch..], pitch, &x, len, out);
                    }
                }
            }
            for (sums, out) in sums.chunks_exact_mut(depth).zip(&out) {
                for (sum, out) in sums[first..first + count].iter_mut().zip(out) {
                    *sum += out;
                }
            }
        }
    }
}

#[inline(always)]
fn correlate_tile<V: Vector, const M: usize, const K: usize>(
    g: &[f32],
    pitch: usize,
    x: &[&[f32]; K],
    len: usize,
    out: &mut [[f32; K]; M],
) {
    let g: [&[f32]; M] = std::array::from_fn(|m| &g[m * pitch..m * pitch + len]);
    let mut sums = [[V::splat(0.0); K]; M];
    for p in (0..len).step_by(V::LANES) {
        let g: [V; M] = std::array::from_fn(|m| V::load(&g[m][p..]));
        for k in 0..K {
            let x = V::load(&x[k][p..]);
            for m in 0..M {
                sums[m][k] = sums[m][k].mul_add(g[m], x);
            }
        }
    }
    for m in 0..M {
        for k in 0..K {
            out[m][k] = sums[m][k].sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::data::random::stream;

    /// Every instruction set of this machine against the sums written out.
    #[test]
    fn instruction_sets_agree() {
        let seed = 5;
        for (case, isa) in (0..40).flat_map(|case| {
            Isa::ALL
                .into_iter()
                .filter(|isa| isa.is_here())
                .map(move |isa| (case, isa))
        }) {
            let rng = &mut stream(seed, 0, case);
            let (outs, ins, taps) = (
                rng.random_range(1..=19),
                rng.random_range(1..=4),
                rng.random_range(0..=7),
            );
            let (len, pitch) = (16 * rng.random_range(1..=7), 120);
            let mut values = |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random_range(-1.0..1.0)).collect() };
            let (w, x, g) = (values(outs * ins * taps), values(400), values(outs * pitch));
            let offsets: Vec<usize> = (0..ins * taps).map(|k| k * 7 % 230).collect();
            let packed = Packed::for_isa(isa, outs, ins, taps, |out, i, tap| w[(out * ins + i) * taps + tap]);
            let mut seen = 0;
            gather(&packed, &offsets, &x, len, &mut |first, p, tile, width| {
                for (m, row) in (first..outs.min(first + packed.block)).zip(tile.chunks_exact(width)) {
                    for (p, got) in (p..len).zip(row) {
                        let products = (0..ins * taps).map(|k| w[m * ins * taps + k] * x[offsets[k] + p]);
                        let want: f32 = products.sum();
                        assert!(
                            (got - want).abs() < 1e-5,
                            "seed {seed} case {case} {isa:?}: {got} for {want}"
                        );
                        seen += 1;
                    }
                }
            });
            assert_eq!(seen, outs * len);
            if taps == 0 {
                continue;
            }
            let mut sums = vec![0.5; outs * ins * taps];
            correlate_with(isa, &g, pitch, &x, &offsets, len, &mut sums);
            for (i, got) in sums.iter().enumerate() {
                let (m, k) = (i / (ins * taps), i % (ins * taps));
                let want = 0.5 + (0..len).map(|p| g[m * pitch + p] * x[offsets[k] + p]).sum::<f32>();
                assert!(
                    (got - want).abs() < 2e-5,
                    "seed {seed} case {case} {isa:?}: {got} for {want}"
                );
            }
        }
    }
}
