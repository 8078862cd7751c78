//! The command line of `edgeqa-quantize`.

use std::path::PathBuf;

use clap::Parser;

/// Converts a DeBERTa-v2/v3 question-answering model to edgeqa's memory-mapped int8 format.
///
/// The import is proven before anything is written: the fp32 model built from the imported weights and the original ONNX graph,
/// run by tract, must agree on random inputs.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
pub struct Args {
    /// An ONNX file, a safetensors file, or a Hugging Face folder with config.json, tokenizer.json and model.safetensors (or
    /// model.onnx)
    #[arg(required_unless_present = "hub", conflicts_with = "hub")]
    pub input: Option<PathBuf>,

    /// Fetch the model from this hub repository instead (cached and resumable; HF_ENDPOINT, HF_HOME and HF_TOKEN are honoured)
    #[arg(long, value_name = "OWNER/NAME")]
    pub hub: Option<String>,

    /// Commit, branch or tag of the hub repository
    #[arg(long, requires = "hub", default_value = "main")]
    pub revision: String,

    /// config.json to use [default: the one beside the weights]
    #[arg(long, value_name = "FILE", conflicts_with = "hub")]
    pub config: Option<PathBuf>,

    /// tokenizer.json to use [default: the one beside the weights]
    #[arg(long, value_name = "FILE", conflicts_with = "hub")]
    pub tokenizer: Option<PathBuf>,

    /// File to write; an existing one is replaced only after the new one is complete and checked
    #[arg(long, short, value_name = "FILE", default_value = "edgeqa-model.safetensors")]
    pub out: PathBuf,

    /// Licence of the weights, kept in the file [default: "unspecified"]
    #[arg(long, value_name = "SPDX")]
    pub license: Option<String>,

    /// Recommended null score difference above which the answer is "none", kept in the file as its default [default: 0]
    #[arg(long, value_name = "X", allow_negative_numbers = true, value_parser = finite)]
    pub null_threshold: Option<f32>,

    /// Do everything, but leave no file behind
    #[arg(long)]
    pub dry_run: bool,

    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  edgeqa-quantize --hub nbroad/deberta-v3-xsmall-squad2 \\
      --revision 04e561b801dc5648425c985d639e3bbfff268469 --license cc-by-4.0 --out model.safetensors
  edgeqa-quantize exports/model.onnx --out model.safetensors
  edgeqa-quantize my-fine-tuned-model/ --out model.safetensors --null-threshold=-1.5";

fn finite(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("not a finite number".into()),
    }
}
