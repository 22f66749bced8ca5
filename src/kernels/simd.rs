//! Vector registers, and how a kernel that is written once over [`Vector`] is compiled for each instruction set.

use std::sync::OnceLock;

/// Environment variable that names the [`Isa`] to use, for tests and comparisons.
pub const ISA_VARIABLE: &str = "GST_CANDLE_ISA";

/// A register of f32 values. The methods of a type must run only on a CPU that has its instructions: values of these
/// types are made nowhere but in a [`Work`] that [`run`] called after asking the CPU.
pub(crate) trait Vector: Copy {
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
}

/// A kernel. `run` must be `#[inline(always)]`, and so must everything that it calls with a `V`, so that the compiler
/// sees the instruction set at every intrinsic.
pub(crate) trait Work {
    type Output;
    fn run<V: Vector>(self) -> Self::Output;
}

/// Runs `work` with the best registers that this CPU has. Plain loops are compiled for them as well.
pub(crate) fn run_best<W: Work>(work: W) -> W::Output {
    run(Isa::used(), work)
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
        let here = Self::ALL.into_iter().rfind(|isa| isa.is_here());
        here.expect("there is always the portable one")
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
        ($type:ty, $lanes:literal, $set1:ident, $load:ident, $store:ident, $add:ident, $sub:ident, $mul:ident, $fma:ident, $max:ident, $store_part:ident) => {
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
        store_part_of_eight
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
        store_part_of_sixteen
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
}
