//! The only place that asks what the CPU can do.
//!
//! Every instruction set in use is a token type: a value of it exists only where the CPU has the features it names, so code
//! that is given a token may use them.

use std::sync::OnceLock;

use super::simd::{Portable, Task};

/// Defines a token and its only constructor.
#[cfg(target_arch = "x86_64")]
macro_rules! token {
    ($(#[$doc:meta])* $name:ident: $($feature:tt),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(());

        impl $name {
            /// The token, if this CPU has all the features.
            pub fn new() -> Option<Self> {
                ($(std::arch::is_x86_feature_detected!($feature))&&+).then_some(Self(()))
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
token!(
    /// AVX2 and FMA: 256-bit vectors.
    Avx2: "avx2", "fma"
);

#[cfg(target_arch = "x86_64")]
token!(
    /// AVX-VNNI: [`Avx2`] and 256-bit `vpdpbusd`.
    AvxVnni: "avx2", "fma", "avxvnni"
);

#[cfg(target_arch = "x86_64")]
token!(
    /// AVX-512 F, BW, DQ and VL: 512-bit vectors.
    Avx512: "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"
);

#[cfg(target_arch = "x86_64")]
token!(
    /// AVX-512 VNNI: [`Avx512`] and 512-bit `vpdpbusd`.
    Avx512Vnni: "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma", "avx512vnni"
);

#[cfg(target_arch = "x86_64")]
impl From<AvxVnni> for Avx2 {
    fn from(_: AvxVnni) -> Self {
        Self(())
    }
}

#[cfg(target_arch = "x86_64")]
impl From<Avx512Vnni> for Avx512 {
    fn from(_: Avx512Vnni) -> Self {
        Self(())
    }
}

/// The vector instructions of the `f32` parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// What the target always has.
    Portable,
    /// See [`Avx2`].
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// See [`Avx512`].
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
}

impl Isa {
    /// All that this CPU has, slowest first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx2::new().map(Self::Avx2));
            all.extend(Avx512::new().map(Self::Avx512));
        }
        all
    }

    /// The one that goes with the int8 kernel of this process, which is chosen once and logged.
    pub fn chosen() -> Self {
        static CHOSEN: OnceLock<Isa> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let isa = super::gemm::chosen().isa();
            log::info!("f32 vectors: {}", isa.name());
            isa
        })
    }

    /// `portable`, `avx2` or `avx512`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
        }
    }

    /// Runs `task` in code compiled for these instructions.
    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            Self::Portable => task.run(Portable),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) => super::x86_64::avx2::run(token, task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(token) => super::x86_64::avx512::run(token, task),
        }
    }
}
