//! Models of random shapes, such as nobody trains: they run, whatever the number of threads, and lies about them are refused.

use std::num::NonZeroUsize;

use edgeqa::artifact::write::write;
use edgeqa::artifact::{Artifact, Metadata};
use edgeqa::config::{ModelConfig, RelativeConfig};
use edgeqa::model::{ModelWeights, Session};
use edgeqa::threads::Threads;
use serde_json::json;

use crate::common::{self, metadata};
use edgeqa::eval::Random;

/// Mostly small sizes, at and beside those of panels, registers and groups, in all combinations.
fn any_config(random: &mut Random) -> ModelConfig {
    let mut of = |sizes: &[usize]| sizes[random.index(sizes.len())];
    let num_heads = of(&[1, 1, 2, 3, 5, 8, 16]);
    let hidden_size = num_heads * of(&[1, 2, 3, 4, 7, 8, 15, 16, 17, 32, 33]);
    let relative = (of(&[0, 1, 1, 1]) == 1).then(|| RelativeConfig {
        position_buckets: of(&[0, 2, 3, 4, 5, 8, 9, 64]),
        max_relative_positions: of(&[1, 2, 3, 4, 6, 7, 33, 512]),
        content_to_position: of(&[0, 1]) == 1,
        position_to_content: of(&[0, 1]) == 1,
    });
    ModelConfig {
        vocab_size: of(&[101, 101, 128, 1000]),
        hidden_size,
        num_layers: of(&[1, 2, 3]),
        num_heads,
        intermediate_size: of(&[1, 2, 3, 4, 5, 31, 63, 64, 65, 130]),
        max_positions: of(&[1, 2, 40, 96, 600]),
        type_vocab_size: of(&[0, 0, 1, 2]),
        position_biased_input: of(&[0, 1]) == 1,
        layer_norm_eps: [1e-12, 1e-7, 0.01][of(&[0, 1, 2])],
        score_terms: of(&[1, 2, 3]),
        relative,
    }
}

#[test]
fn random_shapes_run_and_threads_change_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.safetensors");
    let threads = Threads::new(NonZeroUsize::new(3).expect("three"), false).expect("threads");
    let mut random = Random(5);
    let (mut impossible, mut ran) = (0, 0);
    while ran < 300 {
        let config = any_config(&mut random);
        if config.validate().is_err() {
            impossible += 1;
            continue;
        }
        let what = format!("{config:?}");
        let metadata = Metadata { config: config.clone(), ..metadata() };
        write(&path, &metadata, &common::tensors(&config)).and_then(|file| file.publish()).expect(&what);
        let artifact = Artifact::open(&path).expect(&what);
        artifact.verify().expect(&what);
        let session = Session::new(&ModelWeights::from_artifact(&artifact).expect(&what)).expect(&what);
        for len in [1, 2, 3, 17, 70, config.max_positions] {
            let ids: Vec<i64> = (0..len).map(|_| random.index(config.vocab_size) as i64).collect();
            let types: Option<Vec<i64>> = (config.type_vocab_size > 0)
                .then(|| (0..len).map(|_| random.index(config.type_vocab_size) as i64).collect());
            let alone = session.logits(&ids, types.as_deref());
            if len > config.max_positions {
                assert!(alone.is_err(), "{len} tokens, {what}");
                continue;
            }
            let alone = alone.expect(&what);
            assert_eq!((alone.start.len(), alone.end.len()), (len, len), "{what}");
            let shared = session.on(threads.clone()).logits(&ids, types.as_deref()).expect(&what);
            assert!(alone == shared, "{len} tokens, {what}");
        }
        ran += 1;
    }
    assert!(impossible > 100, "{impossible}");
}

#[test]
fn a_configuration_that_lies_is_refused_or_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = common::write_model(folder.path(), &metadata());
    let bytes = std::fs::read(&path).expect("the file");
    let base = metadata().config;
    let mut random = Random(6);
    let (mut refused, mut ran) = (0, 0);
    for _ in 0..3000 {
        let other = any_config(&mut random);
        let mut config = base.clone();
        for _ in 0..=random.index(3) {
            match random.index(12) {
                0 => config.vocab_size = other.vocab_size,
                1 => config.hidden_size = other.hidden_size,
                2 => config.num_layers = other.num_layers,
                3 => config.num_heads = other.num_heads,
                4 => config.intermediate_size = other.intermediate_size,
                5 => config.max_positions = other.max_positions,
                6 => config.type_vocab_size = other.type_vocab_size,
                7 => config.position_biased_input = other.position_biased_input,
                8 => config.layer_norm_eps = other.layer_norm_eps,
                9 => config.score_terms = other.score_terms,
                10 => config.relative.clone_from(&other.relative),
                _ => {
                    if let (Some(relative), Some(other)) = (&mut config.relative, &other.relative) {
                        relative.max_relative_positions = other.max_relative_positions;
                    }
                }
            }
        }
        let mut lying = common::edit_header(&bytes, |header| {
            header["__metadata__"]["config"] = json!(serde_json::to_string(&config).expect("JSON"));
        });
        common::seal(&mut lying);
        std::fs::write(&path, lying).expect("written");
        let Ok(artifact) = Artifact::open(&path) else {
            refused += 1;
            continue;
        };
        assert_eq!(artifact.metadata().config, config, "not that of the checksum");
        artifact.verify().expect("the data are as they were");
        let session = Session::new(&ModelWeights::from_artifact(&artifact).expect("weights")).expect("builds");
        let ids: Vec<i64> = (0..config.max_positions).map(|i| (i % 101) as i64).collect();
        let types = (config.type_vocab_size > 0).then(|| vec![0; ids.len()]);
        session.logits(&ids, types.as_deref()).expect("logits");
        ran += 1;
    }
    assert!(refused > 1000 && ran > 300, "{refused} refused, {ran} ran");
}
