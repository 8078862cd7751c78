//! What tests of kernels and vectors run on: all that this CPU has, or under an emulated CPU that is there for one kernel, that kernel with its
//! vectors and what is portable. The other kernels have CPUs of their own.

use super::cpu::Isa;
use super::gemm::{Kernel, TABLE};
use crate::skip::skipped;

/// In environments meant to test one kernel, this variable names it.
pub const REQUIRE_VARIABLE: &str = "EDGEQA_REQUIRE_KERNEL";

/// The kernel that has to be the chosen one.
pub fn required() -> Option<String> {
    std::env::var(REQUIRE_VARIABLE).ok()
}

/// The kernels to test. The others are named: what is skipped has not passed.
pub fn kernels(test: &str) -> impl Iterator<Item = &'static Kernel> {
    TABLE.iter().filter(move |kernel| {
        let available = kernel.is_available();
        if !available {
            skipped(format!("{test}: {} cannot run on this CPU", kernel.name));
        } else if !is_of_required(kernel.isa()) {
            skipped(format!("{test}: {} is not the one that {REQUIRE_VARIABLE} names", kernel.name));
        }
        available && is_of_required(kernel.isa())
    })
}

/// The vectors to test, slowest first.
pub fn isas() -> Vec<Isa> {
    Isa::available().into_iter().filter(|isa| is_of_required(*isa)).collect()
}

/// Whether these are the vectors of the required kernel, or portable ones; any are without one, or with one that is unknown.
fn is_of_required(isa: Isa) -> bool {
    let required = required().and_then(|name| TABLE.iter().find(|kernel| kernel.name == name));
    isa == Isa::Portable || required.is_none_or(|kernel| kernel.isa() == isa)
}
