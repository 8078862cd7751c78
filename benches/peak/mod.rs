//! The most multiply-adds of bytes per second that one core reaches in registers, by instruction.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::time::Instant;

/// Independent sums: more than latency times throughput of the instructions, fewer than there are registers.
const CHAINS: usize = 12;
/// Times that every sum is added to in one measurement, which takes about a millisecond.
const STEPS: usize = 1 << 18;

/// A loop over the instruction that a kernel lives on, and the multiply-adds of each of its steps.
#[derive(Clone, Copy)]
pub struct Peak {
    run: fn(),
    macs: usize,
}

impl Peak {
    /// Measures once.
    pub fn gigamacs(self) -> f64 {
        let start = Instant::now();
        (self.run)();
        (CHAINS * STEPS * self.macs) as f64 / start.elapsed().as_secs_f64() / 1e9
    }
}

/// Defines a loop over independent sums. Only kernels that run on this CPU are measured, so the instructions are there.
#[cfg(target_arch = "x86_64")]
macro_rules! steps {
    ($name:ident, $features:literal, $register:ty, $ones:expr, |$sum:ident, $x:ident| $step:expr) => {
        #[target_feature(enable = $features)]
        fn $name() {
            let $x: $register = std::hint::black_box($ones);
            let mut sums = [$x; CHAINS];
            for _ in 0..STEPS {
                for sum in &mut sums {
                    let $sum = *sum;
                    *sum = $step;
                }
            }
            std::hint::black_box(sums);
        }
    };
}

#[cfg(target_arch = "x86_64")]
steps!(dpbusd_512, "avx512f,avx512vnni", __m512i, _mm512_set1_epi8(1), |sum, x| _mm512_dpbusd_epi32(sum, x, x));
#[cfg(target_arch = "x86_64")]
steps!(dpbusd_256, "avx2,avxvnni", __m256i, _mm256_set1_epi8(1), |sum, x| _mm256_dpbusd_avx_epi32(sum, x, x));
// The product of the sum is not known beforehand; without it, the compiler would multiply once for all steps.
#[cfg(target_arch = "x86_64")]
steps!(maddwd_256, "avx2", __m256i, _mm256_set1_epi8(1), |sum, x| _mm256_add_epi32(x, _mm256_madd_epi16(sum, x)));
#[cfg(target_arch = "x86_64")]
steps!(maddwd_128, "sse2", __m128i, _mm_set1_epi8(1), |sum, x| _mm_add_epi32(x, _mm_madd_epi16(sum, x)));

/// The peak of the kernel's instructions: `vpdpbusd`, or `pmaddwd` and the addition that goes with it. None where there is no loop
/// for them.
#[cfg(target_arch = "x86_64")]
pub fn of(kernel: &str) -> Option<Peak> {
    let (_, instructions) = kernel.split_once("k4_")?;
    Some(match instructions {
        // SAFETY: a kernel is measured only if the CPU has the instructions that its name says.
        "avx512_vnni" => Peak { run: || unsafe { dpbusd_512() }, macs: 64 },
        // SAFETY: as above.
        "avx_vnni" => Peak { run: || unsafe { dpbusd_256() }, macs: 32 },
        // SAFETY: as above.
        "avx2" => Peak { run: || unsafe { maddwd_256() }, macs: 16 },
        // SAFETY: as above.
        _ => Peak { run: || unsafe { maddwd_128() }, macs: 8 },
    })
}

/// None: there is no loop for this target.
#[cfg(not(target_arch = "x86_64"))]
pub fn of(_kernel: &str) -> Option<Peak> {
    None
}
