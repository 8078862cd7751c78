//! Token ids to hidden states.

use tract_core::internal::*;

use super::{Table, Workspace, rows_fact, slice_of};

/// Word embedding, plus absolute position and token type embeddings where the model has them.
///
/// Inputs: `input_ids` (`i64`, `[S]`) and, with a token type table, `token_type_ids` (`i64`, `[S]`). Output: `f32`, `[S, hidden]`.
/// Of the word table, only the rows of the tokens present are read, and their pages are let go after some: with every row the
/// system maps what it has at hand around it, and all texts together have most words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// `[vocab, hidden]`.
    pub word: Table,
    /// `[positions, hidden]`.
    pub position: Option<Table>,
    /// `[types, hidden]`.
    pub token_type: Option<Table>,
}

/// Words after which the pages of their table are let go. With 64 kB around each, these are at most 4 MB.
const WORDS: usize = 64;

impl Op for Embedding {
    fn name(&self) -> StaticName {
        "EdgeqaEmbedding".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Embedding {
    op_out_of_plan!();

    fn eval(&self, context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let ids = slice_of::<i64>(&inputs, 0)?;
        let types = match &self.token_type {
            Some(table) => Some((table, slice_of::<i64>(&inputs, 1)?)),
            None => None,
        };
        if let Some((_, types)) = types {
            ensure!(types.len() == ids.len(), "{} token types for {} tokens", types.len(), ids.len());
        }
        if let Some(position) = &self.position {
            ensure!(ids.len() <= position.rows(), "{} tokens, the model has {} positions", ids.len(), position.rows());
        }
        let width = self.word.width();
        let (mut output, mut words) =
            Workspace::with(context, |workspace| Ok((workspace.tensor(ids.len(), width)?, workspace.words)))?;
        let mut view = output.try_as_plain_ram_mut()?;
        let rows = view.as_slice_mut::<f32>()?.chunks_exact_mut(width);
        for (i, (row, &id)) in rows.zip(ids).enumerate() {
            row.fill(0.0);
            self.word.add_row(checked_row(&self.word, id, "token id")?, row);
            if let Some(position) = &self.position {
                position.add_row(i, row);
            }
            if let Some((table, types)) = types {
                table.add_row(checked_row(table, types[i], "token type")?, row);
            }
            words += 1;
            if words == WORDS {
                self.word.release();
                words = 0;
            }
        }
        Workspace::with(context, |workspace| {
            workspace.words = words;
            Ok(())
        })?;
        Ok(tvec!(output.into_tvalue()))
    }
}

fn checked_row(table: &Table, id: i64, what: &str) -> TractResult<usize> {
    match usize::try_from(id) {
        Ok(row) if row < table.rows() => Ok(row),
        _ => bail!("{what} {id} is outside the model's table of {} rows", table.rows()),
    }
}

impl TypedOp for Embedding {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        rows_fact(inputs, self.word.width())
    }

    as_op!();
}
