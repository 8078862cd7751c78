//! Model files whose compiled vocabulary is damaged: each kind has its error, and no damage makes a text fail with a panic.

use std::path::Path;

use edgeqa::artifact::schema::{CHARSMAP, PIPELINE, SCORES, SCORES_F64, TOKENIZER_JSON, TRIE};
use edgeqa::artifact::write::{TensorData, write};
use edgeqa::artifact::{Artifact, ArtifactError, FORMAT_VERSION};
use edgeqa::tokenizer::{QaTokenizer, TokenizerError, compile};
use edgeqa::vocabulary::Fault;

use super::unigram;
use crate::common;

const SIZE: usize = 1000;

/// A model with a compiled Unigram vocabulary whose tensors `change` has damaged.
fn open(folder: &Path, change: impl FnOnce(&mut TensorData)) -> Result<Artifact, ArtifactError> {
    let mut metadata = common::metadata();
    metadata.config.vocab_size = SIZE;
    let mut data = common::tensors(&metadata.config);
    data.extend(compile(&unigram()).expect("a tokenizer").expect("a Unigram vocabulary"));
    change(&mut data);
    let path = folder.join("damaged.safetensors");
    write(&path, &metadata, &data)?.publish()?;
    Artifact::open(&path)
}

/// Changes the text of the pipeline.
fn edit(from: &str, to: &str) -> impl FnOnce(&mut TensorData) + use<> {
    let (from, to) = (from.to_owned(), to.to_owned());
    move |data| {
        let text = String::from_utf8(data[PIPELINE].clone()).expect("text");
        assert!(text.contains(&from), "{text}");
        data.insert(PIPELINE.into(), text.replacen(&from, &to, 1).into_bytes());
    }
}

#[test]
fn a_sound_one_is_verified_and_tells_what_it_is_made_of() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let artifact = open(folder.path(), |_| {}).expect("opens");
    artifact.verify().expect("sound");
    let names: Vec<&str> = artifact
        .tensors()
        .keys()
        .map(String::as_str)
        .filter(|name| name.starts_with("tokenizer") && !name.ends_with(".pad"))
        .collect();
    assert_eq!(names, [CHARSMAP, PIPELINE, SCORES, TRIE]);
    let sum = QaTokenizer::sha256(&artifact).expect("a checksum");
    let other = open(folder.path(), edit("\"byte_fallback\":false", "\"byte_fallback\":true")).expect("opens");
    assert_ne!(QaTokenizer::sha256(&other).expect("a checksum"), sum);
}

#[test]
fn a_file_has_one_form_of_tokenizer_and_all_of_it() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let refused = |change: &dyn Fn(&mut TensorData)| open(folder.path(), |data| change(data)).expect_err("refused");
    let both = refused(&|data| drop(data.insert(TOKENIZER_JSON.into(), vec![1, 2, 3])));
    assert!(matches!(&both, ArtifactError::Superfluous { tensor } if tensor.starts_with("tokenizer.")), "{both}");
    for name in [PIPELINE, TRIE] {
        let missing = refused(&|data| drop(data.remove(name)));
        assert!(matches!(&missing, ArtifactError::Missing { tensor } if tensor == name), "{missing}");
    }
    let shape = refused(&|data| data.get_mut(SCORES).expect("scores").truncate(6));
    assert!(matches!(&shape, ArtifactError::Shape { tensor, .. } if tensor == SCORES), "{shape}");
    let twice = open(folder.path(), |data| {
        let wide = vec![0; data[SCORES].len() * 2];
        data.insert(SCORES_F64.into(), wide);
    });
    let twice = QaTokenizer::from_artifact(&twice.expect("opens")).expect_err("refused");
    assert!(
        matches!(&twice, TokenizerError::Artifact(ArtifactError::Superfluous { tensor }) if tensor == SCORES_F64),
        "{twice}"
    );
}

#[test]
fn parts_that_do_not_fit_are_refused_at_start() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let refused = |change: Box<dyn FnOnce(&mut TensorData)>| {
        QaTokenizer::from_artifact(&open(folder.path(), change).expect("opens")).expect_err("refused")
    };
    let says = |change: Box<dyn FnOnce(&mut TensorData)>, words: &str| {
        let error = refused(change);
        assert!(matches!(&error, TokenizerError::Invalid(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    };
    says(Box::new(|data| drop(data.remove(SCORES))), "scores are missing");
    says(Box::new(|data| data.get_mut(SCORES).expect("scores").truncate(400)), "100 scores");
    says(Box::new(|data| data.get_mut(TRIE).expect("a trie").clear()), "empty trie");
    says(Box::new(edit("\"unk_id\":3", "\"unk_id\":900")), "900");
    says(Box::new(edit("\"longest\":", "\"longest\":999")), "longest piece");
    says(Box::new(edit("\"type\":\"Unigram\"", "\"type\":\"BPE\"")), "BPE");
    says(Box::new(edit("\"pattern\":", "\"patter\":")), "pattern");
    says(Box::new(|data| drop(data.remove(CHARSMAP))), "map of characters");
    says(Box::new(|data| data.insert(PIPELINE.into(), b"{".to_vec()).map_or((), drop)), "EOF");
    for (from, to, what) in [
        ("\"content\":\" \"", format!("\"content\":\"{}\"", "e".repeat(2000)), "normalizer has 2000 bytes in one text"),
        ("\"ids\":[", format!("\"ids\":[{}", "1,".repeat(2000)), "post_processor has"),
        ("\"added_tokens\":[", format!("\"added_tokens\":[{}", "{},".repeat(SIZE)), "added_tokens has 1001 tokens"),
    ] {
        let error = refused(Box::new(edit(from, &to)));
        assert!(matches!(&error, TokenizerError::Excess { .. }) && error.to_string().contains(what), "{error}");
    }
    for len in [0, 3, 1000] {
        let charsmap = refused(Box::new(move |data| data.get_mut(CHARSMAP).expect("a map").truncate(len)));
        assert!(matches!(&charsmap, TokenizerError::Artifact(ArtifactError::Charsmap)), "{charsmap}");
    }
    let foreign = refused(Box::new(edit("\"size\":832", "\"size\":1200")));
    assert!(matches!(foreign, TokenizerError::Invalid(_)), "{foreign}");
}

#[test]
fn damage_inside_of_trie_and_scores_is_found_by_verification() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let fault = |change: &dyn Fn(&mut TensorData)| match open(folder.path(), |data| change(data))
        .expect("opens")
        .verify()
        .expect_err("damaged")
    {
        ArtifactError::Vocabulary { tensor, fault } => (tensor, fault),
        other => panic!("{other}"),
    };
    let trie = |change: &dyn Fn(&mut Vec<u8>)| fault(&|data| change(data.get_mut(TRIE).expect("a trie")));
    assert!(matches!(trie(&|trie| trie[0] = 0xfe), (TRIE, Fault::Kind { at: 0 })));
    assert!(matches!(trie(&|trie| trie.truncate(trie.len() - 1)), (TRIE, Fault::Cut { .. })));
    assert!(matches!(trie(&|trie| trie.push(0)), (TRIE, Fault::Rest { .. })));
    let score = |change: &dyn Fn(&mut Vec<u8>)| fault(&|data| change(data.get_mut(SCORES).expect("scores")));
    let nan = |scores: &mut Vec<u8>| scores[28..32].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(matches!(score(&nan), (SCORES, Fault::Score { id: 7 })));
    assert!(matches!(score(&|scores| scores.extend([0; 4])), (SCORES, Fault::Scores { found: 833, expected: 832 })));
    assert!(matches!(score(&|scores| scores.truncate(400)), (TRIE, Fault::Id { limit: 100, .. })));
}

#[test]
fn packed_tokenizers_still_work_and_old_files_are_told_to_be_made_again() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("packed.safetensors");
    let metadata = common::metadata();
    let data = common::with_packed_tokenizer(&metadata.config, common::TOKENIZER);
    write(&path, &metadata, &data).and_then(|pending| pending.publish()).expect("written");
    let packed = QaTokenizer::from_artifact(&Artifact::open(&path).expect("opens")).expect("a tokenizer");
    let compiled = common::open_with_tokenizer(folder.path(), common::TOKENIZER, metadata.config.vocab_size);
    let compiled = QaTokenizer::from_artifact(&compiled).expect("a tokenizer");
    let text = "the keeper's light [SEP] of 1874, über 灯台";
    let (packed, compiled) = (packed.context(text).expect("tokens"), compiled.context(text).expect("tokens"));
    assert_eq!((packed.ids(), packed.offsets()), (compiled.ids(), compiled.offsets()));
    let bytes = std::fs::read(&path).expect("the file");
    let text = String::from_utf8_lossy(&bytes[..4096]).into_owned();
    let version = format!("\"format_version\":\"{FORMAT_VERSION}\"");
    let at = text.find(&version).expect("the version") + version.len() - 2;
    let old = [&bytes[..at], b"1", &bytes[at + 1..]].concat();
    std::fs::write(&path, old).expect("write");
    let error = Artifact::open(&path).expect_err("refused").to_string();
    assert!(error.contains("version 1") && error.contains("make the model again"), "{error}");
}
