//! Which releases of the libraries were built in.

/// The workspace's lock file.
const LOCK: &str = include_str!("../Cargo.lock");

/// The version of the package `name` in the lock file: the first, if there are several.
///
/// # Panics
/// If the lock file has no such package.
pub fn version_of(name: &str) -> &'static str {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let start = LOCK.find(&entry).unwrap_or_else(|| panic!("{name} is not in Cargo.lock")) + entry.len();
    LOCK[start..].split('"').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_by_the_whole_name() {
        assert_eq!(version_of("edgeqa"), env!("CARGO_PKG_VERSION"));
        assert!(version_of("rten").starts_with(|first: char| first.is_ascii_digit()));
    }
}
