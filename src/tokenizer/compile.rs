//! From a `tokenizer.json` to the tensors of a model file, and back from them to a pipeline.

use std::collections::BTreeMap;
use std::io::Read;

use base64::Engine;
use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokenizers::{
    AddedToken, DecoderWrapper, Model, ModelWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
    TokenizerImpl,
};

use super::charsmap::Charsmap;
use super::limits::{self, MAX_JSON, Parts};
use super::model::AnyModel;
use super::normalizers::{Normalizers, take_charsmap};
use super::unigram::{Scores, Unigram, UnigramSpec};
use super::word_piece::{WordPiece, WordPieceSpec};
use super::{TokenizerError, call};
use crate::artifact::schema::{CHARSMAP, PIPELINE, SCORES, SCORES_F64, TOKENIZER_JSON, TRIE};
use crate::artifact::write::TensorData;
use crate::artifact::{Artifact, ArtifactError, View};
use crate::vocabulary;

/// The pipeline of the library with our models and normalisers.
pub(super) type Pipeline =
    TokenizerImpl<AnyModel, Normalizers, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// What a model file says of its tokenizer beside the vocabulary.
#[derive(Deserialize, Serialize)]
struct Description {
    model: ModelSpec,
    added_tokens: Vec<AddedToken>,
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    decoder: Option<Value>,
}

#[derive(Deserialize, Serialize)]
#[serde(tag = "type")]
enum ModelSpec {
    Unigram(UnigramSpec),
    WordPiece(WordPieceSpec),
}

/// The tensors that stand for a `tokenizer.json`, without truncation and padding, which are ignored. `None` if its
/// vocabulary is no Unigram or WordPiece one, or one that cannot be compiled: with a piece of no or more than 1024
/// bytes, with two pieces that have one text or one id, or with so many that they need more than 16 MiB. Such a file
/// goes into a model file as it is, compressed, as tensor [`TOKENIZER_JSON`].
///
/// # Errors
/// [`TokenizerError::Invalid`] if the library does not read it.
pub fn compile(json: &[u8]) -> Result<Option<TensorData>, TokenizerError> {
    let tokenizer = call(|| Tokenizer::from_bytes(json)).map_err(TokenizerError::Invalid)?;
    let whole: Value = serde_json::from_slice(json).map_err(|e| TokenizerError::Invalid(e.to_string()))?;
    Ok(compiled(&tokenizer, whole))
}

fn compiled(tokenizer: &Tokenizer, mut json: Value) -> Option<TensorData> {
    let (model, trie, scores) = match tokenizer.get_model() {
        ModelWrapper::Unigram(unigram) => {
            let (texts, values): (Vec<&[u8]>, Vec<f64>) =
                unigram.iter().map(|(text, score)| (text.as_bytes(), *score)).unzip();
            let pieces = texts.iter().copied().zip(0..).collect();
            let trie = build(&pieces, texts.len())?;
            let exact = values.iter().all(|&score| f64::from(score as f32).to_bits() == score.to_bits());
            let scores: (_, Vec<u8>) = match exact {
                true => (SCORES, values.iter().flat_map(|&score| (score as f32).to_le_bytes()).collect()),
                false => (SCORES_F64, values.iter().flat_map(|score| score.to_le_bytes()).collect()),
            };
            let unk_id = match json["model"].get("unk_id") {
                None | Some(Value::Null) => None,
                Some(id) => Some(u32::try_from(id.as_u64()?).ok()?),
            };
            let spec = UnigramSpec {
                size: texts.len(),
                longest: longest(&pieces),
                unk_id,
                min_score: unigram.min_score,
                byte_fallback: unigram.byte_fallback(),
            };
            (ModelSpec::Unigram(spec), trie, Some(scores))
        }
        ModelWrapper::WordPiece(word_piece) => {
            let vocabulary = word_piece.get_vocab();
            let pieces = vocabulary.iter().map(|(text, &id)| (text.as_bytes(), id)).collect();
            let spec = WordPieceSpec {
                size: vocabulary.len(),
                longest: longest(&pieces),
                unk_token: word_piece.unk_token.clone(),
                continuing_subword_prefix: word_piece.continuing_subword_prefix.clone(),
                max_input_chars_per_word: word_piece.max_input_chars_per_word,
            };
            (ModelSpec::WordPiece(spec), build(&pieces, vocabulary.len())?, None)
        }
        _ => return None,
    };
    let mut part = |name: &str| json.get_mut(name).map(Value::take).filter(|part| !part.is_null());
    let mut normalizer = part("normalizer");
    let charsmap = normalizer.clone().and_then(|mut without| {
        let bytes = base64::engine::general_purpose::STANDARD.decode(take_charsmap(&mut without)?).ok()?;
        Charsmap::new(bytes.clone().into())?;
        normalizer = Some(without);
        Some(bytes)
    });
    let description = Description {
        model,
        added_tokens: serde_json::from_value(part("added_tokens").unwrap_or_else(|| Value::Array(Vec::new()))).ok()?,
        normalizer,
        pre_tokenizer: part("pre_tokenizer"),
        post_processor: part("post_processor"),
        decoder: part("decoder"),
    };
    let mut tensors =
        TensorData::from([(PIPELINE.to_owned(), serde_json::to_vec(&description).ok()?), (TRIE.to_owned(), trie)]);
    tensors.extend(charsmap.map(|bytes| (CHARSMAP.to_owned(), bytes)));
    tensors.extend(scores.map(|(name, bytes)| (name.to_owned(), bytes)));
    Some(tensors)
}

/// The trie of `size` pieces; `None` if some of them have the same text or id.
fn build(pieces: &BTreeMap<&[u8], u32>, size: usize) -> Option<Vec<u8>> {
    let ids: std::collections::HashSet<u32> = pieces.values().copied().collect();
    if ids.len() == size && pieces.len() == size { vocabulary::build(pieces) } else { None }
}

fn longest(pieces: &BTreeMap<&[u8], u32>) -> usize {
    pieces.keys().map(|piece| piece.len()).max().unwrap_or(0)
}

/// The pipeline of a model file.
pub(super) fn open(artifact: &Artifact) -> Result<Pipeline, TokenizerError> {
    let limit = artifact.metadata().config.vocab_size;
    if artifact.tensors().contains_key(TOKENIZER_JSON) {
        return from_json(&unpack(&artifact.view::<u8>(TOKENIZER_JSON)?)?, limit);
    }
    let text: View<u8> = artifact.view(PIPELINE)?;
    Parts::read(&text, limit)?;
    let trie: View<u8> = artifact.view(TRIE)?;
    let charsmap = match artifact.view_optional(CHARSMAP)? {
        None => None,
        Some(bytes) => Some(Charsmap::new(bytes).ok_or(ArtifactError::Charsmap)?),
    };
    let scores = match (artifact.view_optional(SCORES)?, artifact.view_optional(SCORES_F64)?) {
        (Some(scores), None) => Some(Scores::F32(scores)),
        (None, Some(scores)) => Some(Scores::F64(scores)),
        (None, None) => None,
        (Some(_), Some(_)) => return Err(ArtifactError::Superfluous { tensor: SCORES_F64.into() }.into()),
    };
    let made: Result<Result<Pipeline, TokenizerError>, String> = call(|| {
        let Description { model, added_tokens, normalizer, pre_tokenizer, post_processor, decoder } =
            serde_json::from_slice(&text)?;
        let model = match (model, scores) {
            (ModelSpec::Unigram(spec), Some(scores)) => AnyModel::Unigram(Unigram::new(spec, trie, scores)?),
            (ModelSpec::Unigram(_), None) => return Err("its scores are missing".into()),
            (ModelSpec::WordPiece(_), Some(_)) => return Err("it has scores, but is no Unigram model".into()),
            (ModelSpec::WordPiece(spec), None) => AnyModel::WordPiece(WordPiece::new(spec, trie, limit)?),
        };
        let mut pipeline = Pipeline::new(model);
        if let Some(description) = normalizer {
            pipeline.with_normalizer(Some(Normalizers::new(description, charsmap.as_ref())?))?;
        }
        let pre_tokenizer: Option<PreTokenizerWrapper> = pre_tokenizer.map(serde_json::from_value).transpose()?;
        let post_processor: Option<PostProcessorWrapper> = post_processor.map(serde_json::from_value).transpose()?;
        let decoder: Option<DecoderWrapper> = decoder.map(serde_json::from_value).transpose()?;
        pipeline.with_pre_tokenizer(pre_tokenizer).with_post_processor(post_processor).with_decoder(decoder);
        if let Err(excess) = limits::check_added(&added_tokens, pipeline.get_normalizer()) {
            return Ok(Err(excess));
        }
        pipeline.add_tokens(added_tokens)?;
        Ok(Ok(pipeline))
    });
    made.map_err(TokenizerError::Invalid)?
}

/// The pipeline of a `tokenizer.json` for a model of `vocab_size` tokens.
pub(super) fn from_json(json: &[u8], vocab_size: usize) -> Result<Pipeline, TokenizerError> {
    let parts = Parts::read(json, vocab_size)?;
    call(|| Ok(parts.check_added())).map_err(TokenizerError::Invalid)??;
    call(|| Pipeline::from_bytes(json)).map_err(TokenizerError::Invalid)
}

pub(super) fn unpack(packed: &[u8]) -> Result<Vec<u8>, ArtifactError> {
    let corrupt = |problem: String| ArtifactError::Packed { tensor: TOKENIZER_JSON, problem };
    let mut json = Vec::new();
    GzDecoder::new(packed).take(MAX_JSON as u64 + 1).read_to_end(&mut json).map_err(|e| corrupt(e.to_string()))?;
    if json.len() > MAX_JSON {
        return Err(corrupt(format!("more than {MAX_JSON} bytes when unpacked")));
    }
    Ok(json)
}
