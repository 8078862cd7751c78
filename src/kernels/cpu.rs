//! The only place that asks what the CPU can do.
//!
//! Every instruction set in use is a token type: a value of it exists only where the CPU has the features it names, so code
//! that is given a token may use them.

use std::sync::OnceLock;

use super::simd::{Portable, Task, TaskDot};

/// Defines a token and its only constructor, which detects features with the macro `$detected`.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! token {
    ($(#[$doc:meta])* $name:ident: $detected:ident: $($feature:tt),+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $name(());

        impl $name {
            /// The token, if this CPU has all the features.
            pub fn new() -> Option<Self> {
                ($(std::arch::$detected!($feature))&&+).then_some(Self(()))
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
token!(
    /// AVX2 and FMA: 256-bit vectors.
    Avx2: is_x86_feature_detected: "avx2", "fma"
);

#[cfg(target_arch = "x86_64")]
token!(
    /// AVX-VNNI: [`Avx2`] and 256-bit `vpdpbusd`.
    AvxVnni: is_x86_feature_detected: "avx2", "fma", "avxvnni"
);

#[cfg(target_arch = "x86_64")]
token!(
    /// AVX-512 F, BW, DQ and VL: 512-bit vectors.
    Avx512: is_x86_feature_detected: "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"
);

#[cfg(target_arch = "x86_64")]
token!(
    /// AVX-512 VNNI: [`Avx512`] and 512-bit `vpdpbusd`.
    Avx512Vnni: is_x86_feature_detected: "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma", "avx512vnni"
);

#[cfg(target_arch = "aarch64")]
token!(
    /// NEON: 128-bit vectors.
    Neon: is_aarch64_feature_detected: "neon"
);

#[cfg(target_arch = "aarch64")]
token!(
    /// [`Neon`] with dot products of bytes (`sdot`): Cortex-A76 and later.
    NeonDot: is_aarch64_feature_detected: "neon", "dotprod"
);

#[cfg(target_arch = "aarch64")]
token!(
    /// [`NeonDot`] with matrix products of bytes (`smmla`).
    NeonI8mm: is_aarch64_feature_detected: "neon", "dotprod", "i8mm"
);

/// NEON of 32-bit Arm, 128-bit vectors: Cortex-A7 and later.
#[cfg(target_arch = "arm")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon32(());

#[cfg(target_arch = "arm")]
impl Neon32 {
    /// The token, if Linux says that this CPU has NEON. (The standard library's detection is not stable here.)
    pub fn new() -> Option<Self> {
        /// `HWCAP_NEON` of Linux, `arch/arm/include/uapi/asm/hwcap.h`.
        const NEON: usize = 1 << 12;
        // Kernels ask for every tile, and the system would be asked each time on a CPU without any of the features of the second word.
        static FOUND: OnceLock<bool> = OnceLock::new();
        FOUND.get_or_init(|| rustix::param::linux_hwcap().0 & NEON != 0).then_some(Self(()))
    }
}

#[cfg(target_arch = "aarch64")]
impl From<NeonDot> for Neon {
    fn from(_: NeonDot) -> Self {
        Self(())
    }
}

#[cfg(target_arch = "aarch64")]
impl From<NeonI8mm> for NeonDot {
    fn from(_: NeonI8mm) -> Self {
        Self(())
    }
}

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

/// The features that matter here, and whether this CPU has them.
pub fn features() -> Vec<(&'static str, bool)> {
    #[cfg(target_arch = "x86_64")]
    macro_rules! detect {
        ($($feature:tt)+) => { vec![$(($feature, std::arch::is_x86_feature_detected!($feature))),+] };
    }
    #[cfg(target_arch = "x86_64")]
    return detect!("sse4.1" "avx" "avx2" "fma" "f16c" "avxvnni" "avx512f" "avx512bw" "avx512vl" "avx512vnni");
    #[cfg(target_arch = "aarch64")]
    macro_rules! detect {
        ($($feature:tt)+) => { vec![$(($feature, std::arch::is_aarch64_feature_detected!($feature))),+] };
    }
    #[cfg(target_arch = "aarch64")]
    return detect!("neon" "fp16" "dotprod" "i8mm" "bf16" "sve");
    #[cfg(target_arch = "arm")]
    return vec![("neon", Neon32::new().is_some())];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "arm")))]
    Vec::new()
}

/// The vector instructions of everything but the integer products of [`gemm`](super::gemm).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// What the target always has.
    Portable,
    /// See [`Avx2`].
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// See [`AvxVnni`]: for `f32` like [`Isa::Avx2`].
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    /// See [`Avx512`]. No kernel goes with it, so that it is never chosen.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// See [`Avx512Vnni`]: for `f32` like [`Isa::Avx512`].
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
    /// See [`Neon`].
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// See [`NeonDot`]: for `f32` like [`Isa::Neon`].
    #[cfg(target_arch = "aarch64")]
    NeonDot(NeonDot),
    /// See [`NeonI8mm`]: like [`Isa::NeonDot`].
    #[cfg(target_arch = "aarch64")]
    NeonI8mm(NeonI8mm),
    /// See [`Neon32`].
    #[cfg(target_arch = "arm")]
    Neon32(Neon32),
}

impl Isa {
    /// All that this CPU has, slowest first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx2::new().map(Self::Avx2));
            all.extend(AvxVnni::new().map(Self::AvxVnni));
            all.extend(Avx512::new().map(Self::Avx512));
            all.extend(Avx512Vnni::new().map(Self::Avx512Vnni));
        }
        #[cfg(target_arch = "aarch64")]
        {
            all.extend(Neon::new().map(Self::Neon));
            all.extend(NeonDot::new().map(Self::NeonDot));
            all.extend(NeonI8mm::new().map(Self::NeonI8mm));
        }
        #[cfg(target_arch = "arm")]
        all.extend(Neon32::new().map(Self::Neon32));
        all
    }

    /// The one that goes with the int8 kernel of this process, which is chosen once and logged.
    pub fn chosen() -> Self {
        static CHOSEN: OnceLock<Isa> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let isa = super::gemm::chosen().isa();
            log::info!("vectors: {}", isa.name());
            isa
        })
    }

    /// `portable`, `avx2`, `avx_vnni`, `avx512`, `avx512_vnni`, `neon`, `neon_dotprod`, `neon_i8mm` or
    /// `neon32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(_) => "avx_vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(_) => "avx512_vnni",
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => "neon",
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(_) => "neon_dotprod",
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm(_) => "neon_i8mm",
            #[cfg(target_arch = "arm")]
            Self::Neon32(_) => "neon32",
        }
    }

    /// Runs `task` in code compiled for these instructions.
    pub(super) fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            Self::Portable => task.run(Portable),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) => super::x86_64::avx2::run(token, task),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(token) => super::x86_64::avx2::run(token.into(), task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(token) => super::x86_64::avx512::run(token, task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(token) => super::x86_64::avx512::run(token.into(), task),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(token) => super::aarch64::neon::run(token, task),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(token) => super::aarch64::neon::run(token.into(), task),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm(token) => super::aarch64::neon::run(NeonDot::from(token).into(), task),
            #[cfg(target_arch = "arm")]
            Self::Neon32(token) => task.run(token),
        }
    }

    /// The instructions that sum products of bytes, if they are among these.
    pub(super) fn dot(self) -> Option<DotIsa> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) => Some(DotIsa::Avx2(token)),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(token) => Some(DotIsa::AvxVnni(token)),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(token) => Some(DotIsa::Avx512Vnni(token)),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(token) => Some(DotIsa::Neon(token)),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(token) => Some(DotIsa::NeonDot(token)),
            #[cfg(target_arch = "aarch64")]
            Self::NeonI8mm(token) => Some(DotIsa::NeonDot(token.into())),
            _ => None,
        }
    }
}

/// Vector instructions that sum products of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) enum DotIsa {
    /// See [`Avx2`].
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// See [`AvxVnni`].
    #[cfg(target_arch = "x86_64")]
    AvxVnni(AvxVnni),
    /// See [`Avx512Vnni`].
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni(Avx512Vnni),
    /// See [`Neon`].
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// See [`NeonDot`].
    #[cfg(target_arch = "aarch64")]
    NeonDot(NeonDot),
}

impl DotIsa {
    /// Runs `task` in code compiled for these instructions.
    #[cfg_attr(
        not(any(target_arch = "x86_64", target_arch = "aarch64")),
        expect(unused_variables, reason = "there are none")
    )]
    pub(super) fn run<T: TaskDot>(self, task: T) -> T::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(token) => super::x86_64::avx2::run_dot_avx2(token, task),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni(token) => super::x86_64::avx2::run_dot_avx_vnni(token, task),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni(token) => super::x86_64::avx512::run_dot(token, task),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(token) => super::aarch64::neon::run_dot_neon(token, task),
            #[cfg(target_arch = "aarch64")]
            Self::NeonDot(token) => super::aarch64::neon::run_dot_sdot(token, task),
        }
    }
}
