//! One fuzzer of all properties; `EDGEQA_FUZZ` names the one to look at. See run.sh.

#![no_main]

mod properties;

use std::sync::LazyLock;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    static PROPERTY: LazyLock<properties::Property> = LazyLock::new(|| {
        let name = std::env::var("EDGEQA_FUZZ").expect("EDGEQA_FUZZ names a property");
        let found = properties::ALL.into_iter().find(|(known, _)| *known == name);
        found
            .unwrap_or_else(|| {
                panic!("EDGEQA_FUZZ={name} is no property; there are {:?}", properties::ALL.map(|(name, _)| name))
            })
            .1
    });
    PROPERTY(bytes);
});
