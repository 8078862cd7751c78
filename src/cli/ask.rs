//! `edgeqa ask`.

use std::borrow::Cow;
use std::path::Path;

use anyhow::ensure;
use edgeqa::documents::{DocumentAnswer, Library, RetrievalOptions};
use edgeqa::errors::one_line;
use edgeqa::progress::Progress;
use edgeqa::qa::{Answer, AskOptions, Context, QaError, Reader};
use edgeqa::shown::harmless_json;
use edgeqa::tokenizer::TokenizerError;
use serde::Serialize;

use super::args::AskArgs;
use super::excerpt::shortened;
use super::input::{self, Material, Source};
use super::show::Page;
use super::{load, locate, print};

/// How much of a question is repeated in an error, in characters.
const SHOWN: usize = 80;

/// One line of `--json`: the answer and where it comes from.
#[derive(Serialize)]
struct Record<'a, A> {
    #[serde(flatten)]
    answer: &'a A,
    model: Cow<'a, str>,
}

/// What questions are answered from, ready to be read.
enum Ready {
    Text(Box<Context>),
    Documents(Library, RetrievalOptions),
}

/// What comes out, and what it was read from.
enum Reply<'a> {
    Text(Answer, &'a Context),
    Documents(Box<DocumentAnswer>, &'a Library),
}

pub fn run(args: &AskArgs) -> anyhow::Result<()> {
    let questions = input::questions(args)?;
    let source = Source::of(args)?;
    let path = locate::model(args.model.model.as_deref())?;
    let material = source.read()?;
    let threads = args.threads.start()?;
    let (_, reader) = load(&path, &args.model, threads.count(), args.answer.max_seq_len)?;
    let reader = reader.on(threads);
    log::info!("model {}", path.display());
    let ready = match material {
        Material::Text(text) => {
            let context = reader.context(text).map_err(|error| match error {
                QaError::Tokenizer(TokenizerError::Empty { .. } | TokenizerError::Text { .. }) => {
                    anyhow::Error::from(error).context(format!("cannot read {}", source.name()))
                }
                // Whatever the text.
                error => anyhow::Error::from(error).context(format!("cannot use the model {}", path.display())),
            })?;
            Ready::Text(context.into())
        }
        Material::Documents(library) => Ready::Documents(library, RetrievalOptions { passages: args.passages }),
    };
    let options = AskOptions { top_k: args.top_k, ..args.answer.options() };
    let mut page = Page::new(questions.len() > 1, args.top_k > 1);
    let mut failed = 0;
    for question in &questions {
        let reply = match ready.ask(&reader, question, &options) {
            Ok(reply) => reply,
            // The other questions are not to blame, unless nothing can be answered with these options.
            Err(error @ QaError::Option { .. }) => return Err(error.into()),
            Err(error) => {
                failed += 1;
                refuse(question, &error.into(), args.json)?;
                continue;
            }
        };
        let text = match &reply {
            Reply::Text(answer, _) if args.json => record(answer, &path)?,
            Reply::Text(answer, context) => page.answer(answer, context.text()),
            Reply::Documents(answer, _) if args.json => record(answer, &path)?,
            Reply::Documents(answer, library) => page.documents(answer, library),
        };
        if !print(&text)? {
            break;
        }
    }
    ensure!(failed == 0, "{failed} of {} questions could not be answered", questions.len());
    Ok(())
}

impl Ready {
    fn ask(&self, reader: &Reader, question: &str, options: &AskOptions) -> Result<Reply<'_>, QaError> {
        match self {
            Self::Text(context) => {
                let progress = Progress::of_windows();
                let answer = reader.ask_observed(context, question, options, |done, all| progress.update(done, all))?;
                Ok(Reply::Text(answer, context))
            }
            Self::Documents(library, retrieval) => {
                let progress = Progress::of_passages();
                let answer = library.ask_observed(reader, question, options, retrieval, |done, all| {
                    progress.update(done, all);
                })?;
                Ok(Reply::Documents(Box::new(answer), library))
            }
        }
    }
}

fn record(answer: &impl Serialize, model: &Path) -> anyhow::Result<String> {
    Ok(harmless_json(serde_json::to_string(&Record { answer, model: model.to_string_lossy() })?) + "\n")
}

/// Says why one question has no result: as a record of `--json`, or in the log.
fn refuse(question: &str, error: &anyhow::Error, json: bool) -> anyhow::Result<()> {
    if json {
        let record = serde_json::json!({ "question": question, "error": one_line(error.as_ref()) });
        print(&(harmless_json(record.to_string()) + "\n"))?;
    } else {
        let short = shortened(question, SHOWN);
        log::error!("cannot answer \"{short}\": {}", one_line(error.as_ref()));
    }
    Ok(())
}
