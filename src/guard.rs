//! Calling libraries that may panic on input nobody has checked.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// Whether this thread is inside of [`guard`].
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Calls `f`; a panic inside becomes an error that holds its message, and nothing is printed. That goes for panics on this thread: one
/// on a thread that `f` starts or waits for is printed as always, and an error only if `f` passes it on.
///
/// Meant for parsers and evaluators of foreign data. `f` must not leave anything half-changed that is used after a panic. The
/// first call installs a panic hook, which passes all other panics on to the hook before it.
///
/// # Errors
/// The message of the panic.
pub fn guard<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.get() {
                previous(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(f));
    GUARDED.set(outer);
    result.map_err(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without message").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_errors_and_results_pass() {
        assert_eq!(guard(|| 7), Ok(7));
        assert_eq!(guard(|| panic!("at {}", 3)), Err::<(), _>("at 3".into()));
        assert_eq!(guard(|| guard(|| panic!("inner"))), Ok(Err::<(), _>("inner".into())));
        assert!(!GUARDED.get());
    }
}
