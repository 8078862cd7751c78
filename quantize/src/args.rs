//! The command line of `edgeqa-quantize`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use edgeqa::numbers::{finite, positive, seed, threads};
use edgeqa_quantize::compare::report::DEFAULT_GATE;
use edgeqa_quantize::hub::DEFAULT_REVISION;

/// Converts a DeBERTa-v2/v3 question-answering model to edgeqa's memory-mapped int8 format.
///
/// The import is proven before anything is written: the fp32 model built from the imported weights and the original ONNX graph,
/// run by tract, must agree on random inputs.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct Args {
    /// Something other than converting.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// An ONNX file, a safetensors file, or a Hugging Face folder with config.json, tokenizer.json and model.safetensors (or
    /// model.onnx); a graph's inputs are told by their names: token ids by "input" or "ids" in it, others by "mask", and by "type" or
    /// "segment"
    #[arg(required_unless_present = "hub", conflicts_with = "hub")]
    pub input: Option<PathBuf>,

    /// Fetch the model from this hub repository instead (cached and resumable; HF_ENDPOINT, HF_HOME, HF_HUB_CACHE and
    /// HF_TOKEN are honoured)
    #[arg(long, value_name = "OWNER/NAME")]
    pub hub: Option<String>,

    /// Commit, branch or tag of the hub repository
    #[arg(long, requires = "hub", conflicts_with = "input", default_value = DEFAULT_REVISION)]
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
    #[arg(long, value_name = "X", value_parser = finite::<f32>)]
    pub null_threshold: Option<f32>,

    /// UTF-8 text to calibrate with: paragraphs, separated by empty lines; a paragraph of one line that ends with a question mark is a
    /// question about the text before it; at least 500 tokens, questions included [default: a text that comes with the tool]
    #[arg(long, value_name = "TEXTS")]
    pub calibrate: Option<PathBuf>,

    /// Do not calibrate; round every weight to the nearest step
    #[arg(long, conflicts_with = "calibrate")]
    pub no_calibration: bool,

    /// Keep this linear layer in half precision, e.g. encoder.3.ffn.out; can be given several times
    #[arg(long, value_name = "LAYER")]
    pub half: Vec<String>,

    /// Measure what each linear layer costs: the error of the logits if only that layer is in int8
    #[arg(long)]
    pub sensitivity: bool,

    /// Ask the fp32 and the int8 model the questions of this SQuAD file, keep the scores in the file, and write nothing that misses
    /// the accuracy gate
    #[arg(long, value_name = "FILE")]
    pub squad: Option<PathBuf>,

    /// The accuracy gate: smallest F1 of int8, as a share of that of fp32, not in percent
    #[arg(long, value_name = "R", requires = "squad", default_value_t = DEFAULT_GATE, value_parser = ratio)]
    pub min_f1_ratio: f64,

    /// Do not promote layers to half precision to pass the gate
    #[arg(long, requires = "squad")]
    pub no_promotion: bool,

    /// Ask only as many questions, drawn by --seed; whole paragraphs are drawn, so there can be a few more
    #[arg(long, value_name = "N", requires = "squad", value_parser = positive)]
    pub limit: Option<usize>,

    /// Seed of the choice of paragraphs
    #[arg(long, value_name = "S", requires = "limit", default_value_t = 0, value_parser = seed)]
    pub seed: u64,

    /// Threads that answer questions [default: all cores]
    #[arg(long, value_name = "N", requires = "squad", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,

    /// Folder for the logits of fp32 [default: edgeqa/fp32 in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR", requires = "squad", conflicts_with = "no_cache")]
    pub cache: Option<PathBuf>,

    /// Run fp32 in any case, and keep nothing
    #[arg(long, requires = "squad")]
    pub no_cache: bool,

    /// Do everything, but write no model; of --squad, the logits of fp32 are still kept in the cache, unless --no-cache is given
    #[arg(long)]
    pub dry_run: bool,

    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

const EXAMPLES: &str = "\
Examples:
  edgeqa-quantize --hub nbroad/deberta-v3-xsmall-squad2 \\
      --revision 04e561b801dc5648425c985d639e3bbfff268469 \\
      --license cc-by-4.0 --out model.safetensors
  edgeqa-quantize exports/model.onnx --out model.safetensors
  edgeqa-quantize my-model/ --out model.safetensors --null-threshold=-1.5
  edgeqa-quantize my-fine-tuned-model/ --squad dev-v2.0.json \\
      --min-f1-ratio 0.998 --calibrate manual.txt";

/// Commands beside converting.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compare the answers of an int8 model with those of the fp32 model it was made from
    Compare(CompareArgs),
}

const COMPARE_EXAMPLES: &str = "\
Examples:
  edgeqa-quantize compare --fp32 exports/model.onnx --int8 model.safetensors \\
      --squad dev-v2.0.json --out comparison
  edgeqa-quantize compare --fp32 my-model/ --int8 model.safetensors \\
      --squad dev-v2.0.json --limit 1000 --min-f1-ratio 0.99

Both sides get the same tokens, windows, decoder and threshold: those of the
int8 model. The logits of fp32 are kept and used again for the same model and
questions, whatever the threshold.

The exit code is 1 if --min-f1-ratio is not reached, or if there is no result.";

/// Arguments of `edgeqa-quantize compare`.
#[derive(Debug, clap::Args)]
#[command(after_help = COMPARE_EXAMPLES)]
pub struct CompareArgs {
    /// The original model: an ONNX file, which is run as it is, or a safetensors file or Hugging Face folder, whose weights are
    /// imported
    #[arg(long, value_name = "MODEL")]
    pub fp32: PathBuf,

    /// The model made from it
    #[arg(long, value_name = "FILE")]
    pub int8: PathBuf,

    /// Questions with known answers: a file in the format of SQuAD 1.1 or 2.0
    #[arg(long, value_name = "FILE")]
    pub squad: PathBuf,

    /// Take only a part: whole paragraphs, drawn at random until there are at least N questions [default: all]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub limit: Option<usize>,

    /// Seed of that draw; the same seed draws the same paragraphs everywhere
    #[arg(long, value_name = "S", default_value_t = 0, requires = "limit", value_parser = seed)]
    pub seed: u64,

    /// Run the weights imported from an ONNX file in fp32, instead of the graph
    #[arg(long)]
    pub imported: bool,

    /// config.json of the fp32 model [default: the one beside the weights]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Null score difference above which the answer is "none" [default: the int8 model's recommendation, else 0]
    #[arg(long, value_name = "X", value_parser = finite::<f32>)]
    pub null_threshold: Option<f32>,

    /// Fail if F1 of int8 is less than this share of that of fp32, e.g. 0.99
    #[arg(long, value_name = "R", value_parser = ratio)]
    pub min_f1_ratio: Option<f64>,

    /// Number of questions to answer at the same time [default: the number of available cores]
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<NonZeroUsize>,

    /// Folder for the logits of fp32 [default: edgeqa/fp32 in $XDG_CACHE_HOME or ~/.cache]
    #[arg(long, value_name = "DIR", conflicts_with = "no_cache")]
    pub cache: Option<PathBuf>,

    /// Run fp32 in any case, and keep nothing
    #[arg(long)]
    pub no_cache: bool,

    /// Write report.md, report.json, and the official files of both sides in fp32/ and int8/ to this folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Print the report as JSON instead of Markdown
    #[arg(long)]
    pub json: bool,
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..2.0).contains(&value) => Ok(value),
        _ => Err("not a number from 0 to below 2; give a share, such as 0.99".into()),
    }
}
