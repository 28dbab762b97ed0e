// SPDX-License-Identifier: MIT OR Apache-2.0

//! The instruction sets that there are kernels for.

use std::fmt;

use pulp::{Scalar, Simd, WithSimd};

/// What kernels are compiled for. A value is proof that this machine has it.
#[derive(Clone, Copy)]
pub struct InstructionSet(Kind);

#[derive(Clone, Copy)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512(pulp::x86::V4),
    #[cfg(target_arch = "x86_64")]
    Avx2(pulp::x86::V3),
    #[cfg(target_arch = "aarch64")]
    Neon(pulp::aarch64::Neon),
    Plain(Scalar),
    /// As many lanes as NEON, on any machine.
    #[cfg(test)]
    Four(pulp::Scalar128b),
    /// As many lanes as AVX-512.
    #[cfg(test)]
    Sixteen(pulp::Scalar512b),
}

impl InstructionSet {
    /// No vectors: the reference that the others are compared with.
    pub const PLAIN: Self = Self(Kind::Plain(Scalar));

    /// Those that this machine has, the best first.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let vectors =
            [pulp::x86::V4::try_new().map(Kind::Avx512), pulp::x86::V3::try_new().map(Kind::Avx2)];
        #[cfg(target_arch = "aarch64")]
        let vectors = [pulp::aarch64::Neon::try_new().map(Kind::Neon)];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let vectors: [Option<Kind>; 0] = [];
        vectors.into_iter().flatten().map(Self).chain([Self::PLAIN])
    }

    /// What this machine has, and the lanes of what it may not have.
    #[cfg(test)]
    pub(super) fn all() -> impl Iterator<Item = Self> {
        let emulated = [Kind::Four(pulp::Scalar128b), Kind::Sixteen(pulp::Scalar512b)];
        Self::available().chain(emulated.map(Self))
    }

    /// The best one that this machine has.
    pub fn best() -> Self {
        Self::available().next().unwrap_or(Self::PLAIN)
    }

    /// Floats of a vector: channels that are computed side by side.
    pub fn lanes(self) -> usize {
        struct Lanes;
        impl WithSimd for Lanes {
            type Output = usize;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _simd: S) -> usize {
                S::F32_LANES
            }
        }
        self.run(Lanes)
    }

    /// Whether it has vectors.
    pub fn is_vectorised(self) -> bool {
        !matches!(self.0, Kind::Plain(_))
    }

    /// Runs a kernel, compiled for this.
    #[inline]
    pub(super) fn run<K: WithSimd>(self, kernel: K) -> K::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(simd) => Simd::vectorize(simd, kernel),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(simd) => Simd::vectorize(simd, kernel),
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(simd) => Simd::vectorize(simd, kernel),
            Kind::Plain(simd) => Simd::vectorize(simd, kernel),
            #[cfg(test)]
            Kind::Four(simd) => Simd::vectorize(simd, kernel),
            #[cfg(test)]
            Kind::Sixteen(simd) => Simd::vectorize(simd, kernel),
        }
    }
}

impl fmt::Display for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512(_) => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2(_) => "AVX2",
            #[cfg(target_arch = "aarch64")]
            Kind::Neon(_) => "NEON",
            Kind::Plain(_) => "no vectors",
            #[cfg(test)]
            Kind::Four(_) => "4 lanes",
            #[cfg(test)]
            Kind::Sixteen(_) => "16 lanes",
        })
    }
}

impl fmt::Debug for InstructionSet {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for InstructionSet {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.0) == std::mem::discriminant(&other.0)
    }
}

impl Eq for InstructionSet {}
