//! Lines of assembly that several kernels have.

/// An instruction for the lower and its second part for the upper halves of two registers, whose products of 16 bits fill two.
macro_rules! long {
    ($op:literal, $to:literal, $to2:literal, $a:literal, $b:literal) => {
        lines!(
            concat!($op, " ", $to, ".8h, ", $a, ".8b, ", $b, ".8b"),
            concat!($op, "2 ", $to2, ".8h, ", $a, ".16b, ", $b, ".16b"),
        )
    };
}

/// Adds the sums of 16 bits in pairs to those of 32.
macro_rules! widen {
    ($($to:literal $from:literal),*) => { lines!($(concat!("sadalp ", $to, ".4s, ", $from, ".8h")),*) };
}
