//! How well documents are found and read, what that costs, and how fast a large library starts.
//!
//! ```sh
//! cargo run --example documents                                     # the documents that ship with the source, and a large library
//! cargo run --example documents -- ../shared/squad2/dev-10-articles.json 500    # 500 questions, each to the paragraphs of its article
//! ```
//!
//! A passage is gold if it is (part of) the question's own paragraph, or the other way round, and holds a right answer. Times are CPU
//! times of this thread. Recall counts all answerable questions, F1 a part of them if a number is given (drawn with seed 1).

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::time::Instant;

use edgeqa::documents::{Library, LibraryOptions, Passage, RetrievalOptions};
use edgeqa::eval::random::Random;
use edgeqa::eval::{Dataset, Paragraph, Question, Scores};
use edgeqa::qa::{AskOptions, Reader};

/// Ranks up to which recall is printed.
const RANKS: [usize; 4] = [1, 3, 5, 10];

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let args: Vec<String> = env::args().skip(1).collect();
    if args.is_empty() {
        large()?;
    }
    let reader = Reader::open(&root.join("models/demo/model.safetensors"))?;
    if let Some(file) = args.first() {
        let dataset = Dataset::read(Path::new(file))?;
        let limit = args.get(1).map_or(Ok(usize::MAX), |limit| limit.parse())?;
        let mut groups: BTreeMap<usize, Vec<&Paragraph>> = BTreeMap::new();
        for paragraph in &dataset.paragraphs {
            groups.entry(paragraph.questions[0].place.article).or_default().push(paragraph);
        }
        let asked: Vec<Asked<'_>> = groups.into_iter().flat_map(|(article, group)| articles(article, &group)).collect();
        for part in Part::ALL {
            recall(part.name(), asked.iter().filter(|asked| part.has(asked)))?;
        }
        return read(&reader, asked, limit);
    }
    let (library, skipped) = Library::open(&root.join("models/demo/documents"), &LibraryOptions::default())?;
    println!("{} files, {} passages, {} skipped", library.file_count(), library.passage_count(), skipped.len());
    let dataset = Dataset::read(&root.join("models/demo/documents.json"))?;
    let asked: Vec<Asked<'_>> = dataset.paragraphs.iter().flat_map(|p| asked(&library, 0, p)).collect();
    recall("shipped documents", asked.iter())?;
    read(&reader, asked, usize::MAX)
}

/// A question, and the library it is asked of.
struct Asked<'a> {
    library: Library,
    article: usize,
    paragraph: &'a Paragraph,
    question: &'a Question,
}

fn asked<'a>(library: &Library, article: usize, paragraph: &'a Paragraph) -> Vec<Asked<'a>> {
    let asked = |question| Asked { library: library.clone(), article, paragraph, question };
    paragraph.questions.iter().map(asked).collect()
}

/// The questions of one article, whose library is made of its paragraphs.
fn articles<'a>(article: usize, paragraphs: &[&'a Paragraph]) -> Vec<Asked<'a>> {
    let name = |n| format!("{n:03}.txt");
    let library = Library::of_texts(paragraphs.iter().enumerate().map(|(n, p)| (name(n), p.context.clone())));
    paragraphs.iter().flat_map(|paragraph| asked(&library, article, paragraph)).collect()
}

impl Asked<'_> {
    fn is_gold(&self, passage: &Passage<'_>) -> bool {
        let own = &self.paragraph.context;
        (own.contains(passage.text) || passage.text.contains(own.as_str()))
            && self.question.golds.iter().any(|gold| passage.text.contains(gold.as_str()))
    }
}

fn recall<'a>(name: &str, asked: impl Iterator<Item = &'a Asked<'a>>) -> Result<()> {
    let (mut found, mut all) = ([0_usize; RANKS.len()], 0_usize);
    let started = cpu_seconds();
    for asked in asked.filter(|asked| asked.question.has_answer()) {
        let hits = asked.library.retrieve(&asked.question.text, &RetrievalOptions { passages: RANKS[3] });
        all += 1;
        let rank = hits.iter().position(|(passage, _)| asked.is_gold(passage));
        for (found, limit) in found.iter_mut().zip(RANKS) {
            *found += usize::from(rank.is_some_and(|rank| rank < limit));
        }
    }
    let each = (cpu_seconds() - started) / all as f64;
    let shares: Vec<String> =
        found.iter().zip(RANKS).map(|(n, k)| format!("{k}: {:.2} %", 100.0 * *n as f64 / all as f64)).collect();
    println!(
        "{name}: gold passage of {all} answerable questions in the top {}; {:.3} ms each",
        shares.join(", "),
        1e3 * each
    );
    Ok(())
}

/// The questions of all articles, or of every second one: what is chosen on one half is judged on the other.
#[derive(Clone, Copy)]
enum Part {
    All,
    Even,
    Odd,
}

impl Part {
    const ALL: [Self; 3] = [Self::All, Self::Even, Self::Odd];

    const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Even => "even articles",
            Self::Odd => "odd articles",
        }
    }

    const fn has(self, asked: &Asked<'_>) -> bool {
        match self {
            Self::All => true,
            Self::Even => asked.article.is_multiple_of(2),
            Self::Odd => !asked.article.is_multiple_of(2),
        }
    }
}

/// F1 and exact match in percent, of all questions, of those with and of those without an answer.
#[derive(Clone, Copy, Default)]
struct Figures([(f64, f64, usize); 3]);

impl Figures {
    fn add(&mut self, prediction: &str, question: &Question) {
        let Scores { exact, f1 } = Scores::of(prediction, &question.golds);
        for part in [0, if question.has_answer() { 1 } else { 2 }] {
            let (f1s, exacts, count) = &mut self.0[part];
            (*f1s, *exacts, *count) = (*f1s + f1, *exacts + exact, *count + 1);
        }
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let part = |(f1, exact, count): (f64, f64, usize)| {
            let percent = |sum: f64| 100.0 * sum / count.max(1) as f64;
            format!("F1 {:.2} EM {:.2} ({count})", percent(f1), percent(exact))
        };
        let [all, with, without] = self.0.map(part);
        write!(to, "{all}, with answer {with}, without {without}")
    }
}

/// Answers a part of the questions from their own paragraphs alone, and from several numbers of passages.
fn read(reader: &Reader, mut asked: Vec<Asked<'_>>, limit: usize) -> Result<()> {
    let mut random = Random(1);
    for first in 0..asked.len().min(limit) {
        let other = first + random.below((asked.len() - first) as u64) as usize;
        asked.swap(first, other);
    }
    asked.truncate(limit);
    let options = AskOptions::default();
    figures("own paragraph alone", &asked, |Asked { paragraph, question, .. }| {
        Ok(reader.ask(&question.text, &paragraph.context, &options)?.text)
    })?;
    for passages in [1, 3, 5] {
        let mut misplaced = 0;
        figures(&format!("{passages} passages"), &asked, |Asked { library, paragraph, question, .. }| {
            let answer = library.ask(reader, &question.text, &options, &RetrievalOptions { passages })?;
            let elsewhere = |source: &str| !paragraph.context.contains(source) && !source.contains(&paragraph.context);
            misplaced += usize::from(answer.source.is_some_and(|source| elsewhere(&source.text)));
            Ok(answer.answer.text)
        })?;
        println!("  {misplaced} answers are from another paragraph than the question's own");
    }
    Ok(())
}

/// Prints how good answers are, by part if there are several articles.
fn figures(name: &str, asked: &[Asked<'_>], mut answer: impl FnMut(&Asked<'_>) -> Result<String>) -> Result<()> {
    let mut parts = [Figures::default(); Part::ALL.len()];
    let started = cpu_seconds();
    for asked in asked {
        let text = answer(asked)?;
        for (figures, part) in parts.iter_mut().zip(Part::ALL) {
            if part.has(asked) {
                figures.add(&text, asked.question);
            }
        }
    }
    let each = 1e3 * (cpu_seconds() - started) / asked.len() as f64;
    println!("{name}: {each:.1} ms each");
    let several = asked.iter().any(|asked| Part::Odd.has(asked));
    for (figures, part) in parts.iter().zip(Part::ALL).take(if several { Part::ALL.len() } else { 1 }) {
        println!("  {}: {figures}", part.name());
    }
    Ok(())
}

/// Writes 10,000 passages to 1,000 files, and opens them.
fn large() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut random = Random(7);
    // Words as often as in natural text: by their rank.
    let mut word = || {
        let uniform = (random.number() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut rank = (50_000_f64.powf(uniform)) as u64;
        std::iter::from_fn(|| {
            let letter = (rank > 0).then(|| char::from(b'a' + (rank % 26) as u8));
            rank /= 26;
            letter
        })
        .chain("er".chars())
        .collect::<String>()
    };
    let mut bytes = 0;
    for file in 0..1_000 {
        let paragraphs: Vec<String> =
            (0..10).map(|_| (0..120).map(|_| word()).collect::<Vec<_>>().join(" ") + ".").collect();
        let text = paragraphs.join("\n\n");
        bytes += text.len();
        fs::write(folder.path().join(format!("{file:04}.txt")), text)?;
    }
    let before = memory()?;
    let started = Instant::now();
    let cpu = cpu_seconds();
    let (library, _) = Library::open(folder.path(), &LibraryOptions::default())?;
    let (wall, cpu) = (started.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let after = memory()?;
    println!(
        "{} passages, {:.2} MB of text: {wall:.2} s ({cpu:.2} s CPU); resident memory grew by {:.2} MB, at most by {:.2} MB",
        library.passage_count(),
        bytes as f64 / 1e6,
        (after.0 - before.0) / 1e6,
        (after.1 - before.0) / 1e6
    );
    let cpu = cpu_seconds();
    library.renewed(folder.path(), &LibraryOptions::default())?;
    println!("looking at its 1,000 files again: {:.1} ms CPU", 1e3 * (cpu_seconds() - cpu));
    let cpu = cpu_seconds();
    for _ in 0..100 {
        library.retrieve("Which berer was the oldest of the abcer?", &RetrievalOptions::default());
    }
    println!("finding passages: {:.3} ms CPU", 10.0 * (cpu_seconds() - cpu));
    Ok(())
}

/// CPU time of this thread.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Resident memory now and at most, in bytes.
fn memory() -> Result<(f64, f64)> {
    let (now, peak) = (edgeqa::memory::usage(), edgeqa::memory::peak());
    Ok((now.ok_or("the system does not tell")?.resident as f64, peak.ok_or("the system does not tell")? as f64))
}
