//! `edgeqa ask`.

use std::borrow::Cow;

use anyhow::ensure;
use edgeqa::errors::one_line;
use edgeqa::qa::{Answer, AskOptions, QaError};
use serde::Serialize;

use super::args::AskArgs;
use super::excerpt::clean;
use super::input::{self, Source};
use super::progress::Progress;
use super::show::Page;
use super::{load, locate, print};

/// How much of a question is repeated in an error, in characters.
const SHOWN: usize = 80;

/// One line of `--json`: the answer and where it comes from.
#[derive(Serialize)]
struct Record<'a> {
    #[serde(flatten)]
    answer: &'a Answer,
    model: Cow<'a, str>,
}

pub fn run(args: &AskArgs) -> anyhow::Result<()> {
    let questions = input::questions(args)?;
    let source = Source::of(args)?;
    let path = locate::model(args.model.model.as_deref())?;
    let text = source.read()?;
    let threads = args.threads.start()?;
    let (_, reader) = load(&path, &args.model, threads.count(), args.answer.max_seq_len)?;
    let reader = reader.on(threads);
    log::info!("model {}", path.display());
    let context = reader.context(text)?;
    let options = AskOptions { top_k: args.top_k, ..args.answer.options() };
    let mut page = Page::new(questions.len() > 1, args.top_k > 1);
    let mut failed = 0;
    for question in &questions {
        let progress = Progress::of_windows();
        let answer = reader.ask_observed(&context, question, &options, |done, all| progress.update(done, all));
        drop(progress);
        let answer = match answer {
            Ok(answer) => answer,
            // The other questions are not to blame, unless nothing can be answered with these options.
            Err(error @ QaError::Option { .. }) => return Err(error.into()),
            Err(error) => {
                failed += 1;
                refuse(question, &error.into(), args.json)?;
                continue;
            }
        };
        let text = if args.json {
            serde_json::to_string(&Record { answer: &answer, model: path.to_string_lossy() })? + "\n"
        } else {
            page.answer(&answer, context.text())
        };
        print(&text)?;
    }
    ensure!(failed == 0, "{failed} of {} questions could not be answered", questions.len());
    Ok(())
}

/// Says why one question has no result: as a record of `--json`, or in the log.
fn refuse(question: &str, error: &anyhow::Error, json: bool) -> anyhow::Result<()> {
    if json {
        let record = serde_json::json!({ "question": question, "error": one_line(error.as_ref()) });
        return print(&(record.to_string() + "\n"));
    }
    let mut short: String = clean(question).chars().take(SHOWN + 1).collect();
    if let Some((at, _)) = short.char_indices().nth(SHOWN) {
        short.truncate(at);
        short.push('…');
    }
    log::error!("cannot answer \"{short}\": {}", one_line(error.as_ref()));
    Ok(())
}
