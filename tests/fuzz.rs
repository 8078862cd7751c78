//! What fuzzing has found interesting, and what it was begun with, again.

use std::path::Path;

use crate::properties;

#[test]
fn the_corpus_has_no_counter_example() {
    for (name, property) in properties::ALL {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
        let files = std::fs::read_dir(&folder)
            .expect("the corpus is in the repository")
            .map(|entry| entry.expect("a file").path());
        let mut count = 0;
        for file in files {
            println!("{}", file.display());
            property(&std::fs::read(&file).expect("readable"));
            count += 1;
        }
        assert!(count >= 3, "{name} has {count} files");
    }
}
