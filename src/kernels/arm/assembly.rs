//! What functions in assembly have in common.

/// A function of this name for NEON, of these lines. It returns by itself.
macro_rules! function {
    ($name:ident: $($line:expr),+ $(,)?) => {
        std::arch::global_asm!(
            concat!(".pushsection .text.", stringify!($name), ", \"ax\", %progbits"),
            ".syntax unified",
            ".arm",
            ".fpu neon",
            ".p2align 4",
            concat!(".globl ", stringify!($name)),
            concat!(".hidden ", stringify!($name)),
            concat!(".type ", stringify!($name), ", %function"),
            concat!(stringify!($name), ":"),
            $($line,)+
            concat!(".size ", stringify!($name), ", . - ", stringify!($name)),
            ".popsection",
        );
    };
}
