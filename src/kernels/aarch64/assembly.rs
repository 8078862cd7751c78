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

/// The sums of 16 bits become, in pairs, the `first` ones of 32, or are added to these as the `next` ones.
macro_rules! widen {
    (first $($to:literal $from:literal),*) => { lines!($(concat!("saddlp ", $to, ".4s, ", $from, ".8h")),*) };
    (next $($to:literal $from:literal),*) => { lines!($(concat!("sadalp ", $to, ".4s, ", $from, ".8h")),*) };
}
