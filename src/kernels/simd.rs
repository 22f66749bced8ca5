//! The two inner loops of every convolution, written once over [`Vector`] and compiled for each instruction set.
//!
//! Both read their input through a table of offsets, so that one loop serves every kernel size, stride, dilation and
//! direction, and no im2col matrix is ever written.

use std::sync::OnceLock;

/// Most output channels in one tile of [`gather`], over all instruction sets.
const MAX_BLOCK: usize = 8;
/// Most positions in one tile of [`gather`], over all instruction sets.
pub(super) const MAX_TILE: usize = 48;

/// A register of f32 values. The methods of a type must run only on a CPU that has its instructions: values of these
/// types are made nowhere but in functions that [`gather`] and [`correlate`] choose after asking the CPU.
trait Vector: Copy {
    const LANES: usize;
    fn splat(x: f32) -> Self;
    /// The first `LANES` values of `x`; panics when there are fewer.
    fn load(x: &[f32]) -> Self;
    /// Writes to the first `LANES` values of `out`; panics when there are fewer.
    fn store(self, out: &mut [f32]);
    /// `self + a · b`.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Sum of the lanes, in a fixed order.
    fn sum(self) -> f32;
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
    fn mul_add(self, a: Self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] + a[i] * b[i])
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        (self[0] + self[1]) + (self[2] + self[3])
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    impl Vector for __m256 {
        const LANES: usize = 8;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: the CPU has AVX2 (see `Vector`).
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        fn load(x: &[f32]) -> Self {
            // SAFETY: the slice has 8 values, and the CPU has AVX2 (see `Vector`).
            unsafe { _mm256_loadu_ps(x[..8].as_ptr()) }
        }

        #[inline(always)]
        fn store(self, out: &mut [f32]) {
            // SAFETY: the slice has 8 values, and the CPU has AVX2 (see `Vector`).
            unsafe { _mm256_storeu_ps(out[..8].as_mut_ptr(), self) }
        }

        #[inline(always)]
        fn mul_add(self, a: Self, b: Self) -> Self {
            // SAFETY: the CPU has FMA (see `Vector`).
            unsafe { _mm256_fmadd_ps(a, b, self) }
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            let mut x = [0.0; 8];
            self.store(&mut x);
            let half: [f32; 4] = std::array::from_fn(|i| x[i] + x[i + 4]);
            half.sum()
        }
    }

    impl Vector for __m512 {
        const LANES: usize = 16;

        #[inline(always)]
        fn splat(x: f32) -> Self {
            // SAFETY: the CPU has AVX-512 (see `Vector`).
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        fn load(x: &[f32]) -> Self {
            // SAFETY: the slice has 16 values, and the CPU has AVX-512 (see `Vector`).
            unsafe { _mm512_loadu_ps(x[..16].as_ptr()) }
        }

        #[inline(always)]
        fn store(self, out: &mut [f32]) {
            // SAFETY: the slice has 16 values, and the CPU has AVX-512 (see `Vector`).
            unsafe { _mm512_storeu_ps(out[..16].as_mut_ptr(), self) }
        }

        #[inline(always)]
        fn mul_add(self, a: Self, b: Self) -> Self {
            // SAFETY: the CPU has AVX-512 (see `Vector`).
            unsafe { _mm512_fmadd_ps(a, b, self) }
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            // SAFETY: the CPU has AVX-512 (see `Vector`).
            unsafe { _mm512_reduce_add_ps(self) }
        }
    }
}

#[derive(Clone, Copy)]
enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// The best instruction set of this CPU.
fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
                return Isa::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Isa::Avx2;
            }
        }
        Isa::Portable
    })
}

/// Weights in the order in which [`gather`] reads them: blocks of output channels, in each the `depth` products of a
/// position, in each the channels of the block side by side.
pub(super) struct Packed {
    outs: usize,
    depth: usize,
    block: usize,
    data: Vec<f32>,
}

impl Packed {
    /// Packs `weight(out, source, tap)` for `outs` output channels; the products of a position run over the taps of
    /// one source channel, then over those of the next.
    pub(super) fn new(outs: usize, ins: usize, taps: usize, weight: impl Fn(usize, usize, usize) -> f32) -> Self {
        let block = match isa() {
            #[cfg(target_arch = "x86_64")]
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
    match isa() {
        Isa::Portable => gather_tiles::<[f32; 4], 4, 2>(weights, offsets, x, len, emit),
        // SAFETY: `isa` found AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { gather_avx2(weights, offsets, x, len, emit) },
        // SAFETY: `isa` found AVX-512.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { gather_avx512(weights, offsets, x, len, emit) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn gather_avx2(
    w: &Packed,
    offsets: &[usize],
    x: &[f32],
    len: usize,
    emit: &mut impl FnMut(usize, usize, &[f32], usize),
) {
    gather_tiles::<std::arch::x86_64::__m256, 4, 3>(w, offsets, x, len, emit);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
fn gather_avx512(
    w: &Packed,
    offsets: &[usize],
    x: &[f32],
    len: usize,
    emit: &mut impl FnMut(usize, usize, &[f32], usize),
) {
    gather_tiles::<std::arch::x86_64::__m512, 8, 3>(w, offsets, x, len, emit);
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
    assert!(len.is_multiple_of(16) && len <= pitch);
    match isa() {
        Isa::Portable => correlate_rows::<[f32; 4], 2, 3>(g, pitch, x, offsets, len, sums),
        // SAFETY: `isa` found AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { correlate_avx2(g, pitch, x, offsets, len, sums) },
        // SAFETY: `isa` found AVX-512.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { correlate_avx512(g, pitch, x, offsets, len, sums) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn correlate_avx2(g: &[f32], pitch: usize, x: &[f32], offsets: &[usize], len: usize, sums: &mut [f32]) {
    correlate_rows::<std::arch::x86_64::__m256, 4, 2>(g, pitch, x, offsets, len, sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
fn correlate_avx512(g: &[f32], pitch: usize, x: &[f32], offsets: &[usize], len: usize, sums: &mut [f32]) {
    correlate_rows::<std::arch::x86_64::__m512, 4, 6>(g, pitch, x, offsets, len, sums);
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
