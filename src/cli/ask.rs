//! `edgeqa ask`.

use std::borrow::Cow;
use std::path::Path;

use anyhow::Context;
use edgeqa::qa::{Answer, Reader};
use serde::Serialize;

use super::args::AskArgs;
use super::input::{self, Source};
use super::progress::Progress;
use super::show::Page;
use super::{locate, open, print, verify};

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
    let path = locate::model(args.model.as_deref())?;
    let text = source.read()?;
    let reader = load(&path, args.verify)?;
    log::info!("model {}", path.display());
    let context = reader.context(text)?;
    let options = args.options();
    let mut page = Page::new(questions.len() > 1, args.top_k > 1);
    for question in &questions {
        let mut progress = Progress::start();
        let answer = reader.ask_observed(&context, question, &options, |done, all| progress.update(done, all));
        drop(progress);
        let answer = answer.with_context(|| format!("cannot answer {question:?}"))?;
        let text = if args.json {
            serde_json::to_string(&Record { answer: &answer, model: path.to_string_lossy() })? + "\n"
        } else {
            page.answer(&answer, context.text())
        };
        print(&text)?;
    }
    Ok(())
}

fn load(path: &Path, checked: bool) -> anyhow::Result<Reader> {
    let artifact = open(path)?;
    if checked {
        verify(&artifact, path)?;
    }
    Reader::from_artifact(&artifact).with_context(|| format!("cannot use the model {}", path.display()))
}
