//! The proof that the tokenizer in a file makes the tokens of the tokenizers library.

use anyhow::{anyhow, ensure};
use edgeqa::guard::guard;
use edgeqa::tokenizer::QaTokenizer;
use tokenizers::Tokenizer;

use crate::calibrate::Texts;

/// Compares ids and offsets of all questions and passages with those of the library, which reads `json`, a `tokenizer.json`.
///
/// # Errors
/// If they differ, or the library fails.
pub(crate) fn prove(found: &QaTokenizer, json: &str, texts: &Texts) -> anyhow::Result<()> {
    let mut library = Tokenizer::from_bytes(json).map_err(|e| anyhow!("tokenizer.json: {e}"))?;
    library.with_padding(None).with_truncation(None).map_err(|e| anyhow!("tokenizer.json: {e}"))?;
    for text in texts.pairs.iter().flat_map(|(question, passage)| [question, passage]) {
        let unusable = |problem: String| {
            anyhow!(
                "tokenizer.json: the tokenizers library fails with {} ({problem}); give the one that was saved with the model (--tokenizer)",
                texts.name
            )
        };
        let want = guard(|| library.encode(text.as_str(), false)).map_err(unusable)?;
        let want = want.map_err(|error| unusable(error.to_string()))?;
        let got = found.context(text)?;
        // The library forgets characters that a map removes from the beginning.
        let is_shifted = text.starts_with(char::is_control);
        ensure!(
            got.ids() == want.get_ids() && (is_shifted || got.offsets() == want.get_offsets()),
            "the tokenizer in the file makes other tokens of {} than the tokenizers library; please report this",
            texts.name
        );
    }
    Ok(())
}
