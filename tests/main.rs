//! The tests that need no program of their own: to link them one by one would take longer than they do.

mod artifact;
mod bench;
mod bench_cli;
mod bench_compare;
mod cli;
mod common;
mod doctor_cli;
mod documents;
mod eval;
mod eval_cli;
mod fuzz;
mod layers;
mod page;
#[path = "fuzz/properties.rs"]
mod properties;
mod qa_golden;
mod reader;
mod shapes;
mod tokenizer;

/// A file that no program names is not compiled, and nobody would miss its tests.
#[test]
fn every_file_of_tests_belongs_to_a_program() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for package in [root.to_owned(), root.join("quantize")] {
        let read = |name: &str| std::fs::read_to_string(package.join(name)).expect(name);
        let (programs, modules) = (read("Cargo.toml"), read("tests/main.rs"));
        let mut files = 0;
        for entry in package.join("tests").read_dir().expect("tests") {
            let path = entry.expect("an entry").path();
            let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
            let is_module = path.extension().is_some_and(|extension| extension == "rs") || path.join("mod.rs").exists();
            if is_module && stem != "main" {
                let named = programs.lines().any(|line| line == format!("name = \"{stem}\""))
                    || modules.lines().any(|line| line == format!("mod {stem};"));
                assert!(named, "{} is in no program", path.display());
                files += 1;
            }
        }
        assert!(files >= 5, "{files} files in {}", package.display());
    }
}
