//! What a [`Record`] says to people.

use super::measure::MOST_RUNS;
use super::page::{Page, Section, Table, digits, time};
use super::plot::{Bar, Distribution, Plot, Series, Spread};
use super::record::{Record, Runs, Starts};
use super::state::{Clock, State};
use super::stats::{Summary, median};
use crate::shown::{count, megabytes};

/// The page of `record`.
pub fn page(record: &Record) -> Page {
    let sections =
        [latency(record), answering(record), starting(record), memory(record), machine(record), method(record)];
    Page {
        title: format!("edgeqa bench: {}", record.host.name()),
        subtitle: format!("{}, edgeqa {} for {}", record.date, record.program.version, record.program.target),
        alerts: record.throttled.clone(),
        warnings: record.warnings.clone(),
        highlights: highlights(record),
        sections: sections.into_iter().flatten().collect(),
    }
}

fn highlights(record: &Record) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let longest = record.points.iter().filter_map(|point| Some((point, point.runs.summary.as_ref()?)));
    if let Some((point, summary)) =
        longest.max_by(|(a, x), (b, y)| a.tokens.cmp(&b.tokens).then(y.p50.total_cmp(&x.p50)))
    {
        found.push((time(summary.p50), format!("for {} tokens on {}", point.tokens, count(point.threads, "thread"))));
    }
    let best = record.questions.iter().filter_map(|point| Some((point.per_second?, point.threads)));
    if let Some((rate, threads)) = best.max_by(|a, b| a.0.total_cmp(&b.0)) {
        found.push((digits(rate), format!("questions per second on {}", count(threads, "thread"))));
    }
    if !record.first_answer.warm.is_empty() {
        found.push((time(median(&record.first_answer.warm)), "from start to first answer".into()));
    }
    if let Some(memory) = all_runs(record).filter_map(|(_, runs)| runs.memory).max_by_key(|memory| memory.peak) {
        found.push((format!("{} MB", megabytes(memory.peak)), "of memory at most".into()));
    }
    found
}

/// Everything that was run, with its name.
pub fn all_runs(record: &Record) -> impl Iterator<Item = (String, &Runs)> {
    let points = record.points.iter();
    let points =
        points.map(|point| (format!("{} tokens, {}", point.tokens, count(point.threads, "thread")), &point.runs));
    points.chain(
        record.questions.iter().map(|point| (format!("questions, {}", count(point.threads, "thread")), &point.runs)),
    )
}

/// p50 to deviation of a summary.
fn figures(summary: &Summary) -> Vec<String> {
    let times = [summary.min, summary.p50, summary.p90, summary.p99, summary.mean, summary.deviation];
    times.iter().map(|seconds| digits(seconds * 1e3)).collect()
}

const FIGURES: [&str; 6] = ["min", "p50", "p90", "p99", "mean", "dev"];

fn failures<'a>(runs: impl Iterator<Item = (String, &'a Runs)>) -> Vec<String> {
    runs.filter_map(|(name, runs)| Some(format!("{name}: {}", runs.failure.as_ref()?))).collect()
}

fn latency(record: &Record) -> Option<Section> {
    let head = [&["tokens", "threads"], &FIGURES[..], &["tokens/s", "cpu", "runs"]].concat();
    let mut table = Table::new(&head);
    for point in &record.points {
        let mut row = vec![point.tokens.to_string(), point.threads.to_string()];
        match &point.runs.summary {
            Some(summary) => {
                row.extend(figures(summary));
                row.push(point.tokens_per_second.map_or_else(String::new, digits));
                row.push(point.runs.cpu_share.map_or_else(String::new, |share| format!("{:.0} %", 100.0 * share)));
                row.push(summary.runs.to_string());
            }
            None => row.resize(head.len(), "-".into()),
        }
        table.rows.push(row);
    }
    let notes = failures(all_runs(record).take(record.points.len()));
    let plots =
        vec![Plot::Lines { title: "Time by length".into(), series: by_threads(record, "") }, distributions(record)];
    (!record.points.is_empty()).then(|| Section {
        title: "Latency of the model, in ms".into(),
        table: Some(table),
        plots,
        notes,
        ..Section::default()
    })
}

/// One series for each number of threads.
pub fn by_threads(record: &Record, name: &str) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for point in &record.points {
        let Some(summary) = &point.runs.summary else { continue };
        let name = format!("{name}{}", count(point.threads, "thread"));
        let at = series.iter().position(|series| series.name == name).unwrap_or_else(|| {
            series.push(Series { name, points: Vec::new() });
            series.len() - 1
        });
        let ms = |seconds: f64| seconds * 1e3;
        let spread = Spread { p50: ms(summary.p50), p90: ms(summary.p90), p99: ms(summary.p99) };
        series[at].points.push((point.tokens, spread));
    }
    series.iter_mut().for_each(|series| series.points.sort_by_key(|(tokens, _)| *tokens));
    series
}

fn answering(record: &Record) -> Option<Section> {
    let head = [&["threads"], &FIGURES[..], &["questions/s", "faults minor", "major", "runs"]].concat();
    let mut table = Table::new(&head);
    for point in &record.questions {
        let Some(summary) = &point.runs.summary else { continue };
        let mut row = vec![point.threads.to_string()];
        row.extend(figures(summary));
        row.push(point.per_second.map_or_else(String::new, digits));
        let faults = [point.runs.minor_faults, point.runs.major_faults];
        row.extend(faults.map(|faults| faults.map_or_else(|| "-".into(), digits)));
        row.push(summary.runs.to_string());
        table.rows.push(row);
    }
    let settings = &record.settings;
    let mut notes = vec![format!(
        "{} questions on {}, {} bytes; tokenizing and decoding included.",
        settings.questions, settings.text, settings.text_bytes
    )];
    notes.extend(failures(all_runs(record).skip(record.points.len())));
    (!record.questions.is_empty()).then(|| Section {
        title: "Questions on a text, in ms".into(),
        table: Some(table),
        notes,
        ..Section::default()
    })
}

fn starting(record: &Record) -> Option<Section> {
    let mut section = Section { title: "Start, in ms".into(), ..Section::default() };
    let mut table = Table::new(&["", "cache", "min", "p50", "max", "runs"]);
    let mut notes: Vec<String> = Vec::new();
    for (name, starts) in [("load the model", &record.load), ("start to first answer", &record.first_answer)] {
        let Starts { threads, warm, cold, note, failure } = starts;
        for (cache, times) in [("warm", warm), ("cold", cold)] {
            if let Some(summary) = Summary::of(times) {
                let ms = [summary.min, summary.p50, summary.max].map(|seconds| digits(seconds * 1e3));
                let [min, p50, max] = ms;
                table.rows.push(vec![name.into(), cache.into(), min, p50, max, summary.runs.to_string()]);
            }
        }
        let with = threads.map(|threads| format!("With {}.", count(threads, "thread")));
        for note in with.into_iter().chain(note.iter().map(|note| format!("cold: {note}."))) {
            if !notes.contains(&note) {
                notes.push(note);
            }
        }
        notes.extend(failure.iter().map(|failure| format!("{name}: {failure}")));
    }
    if table.rows.is_empty() && notes.is_empty() {
        return None;
    }
    if let Some(warm) = record.first_answer_warm
        && !record.first_answer.warm.is_empty()
    {
        notes.push(format!("The same question takes {} in a process that is warm.", time(warm)));
    }
    section.notes = notes;
    section.table = (!table.rows.is_empty()).then_some(table);
    Some(section)
}

fn memory(record: &Record) -> Option<Section> {
    let head = ["tokens", "threads", "peak", "resident", "PSS", "private dirty", "faults minor", "major"];
    let mut table = Table::new(&head);
    let mut bars = Vec::new();
    let points = record.points.iter().map(|point| (point.tokens.to_string(), point.threads, &point.runs));
    let questions = record.questions.iter().map(|point| ("text".to_owned(), point.threads, &point.runs));
    for (tokens, count, runs) in points.chain(questions) {
        let Some(memory) = runs.memory else { continue };
        bars.push(Bar {
            name: format!("{tokens} \u{d7} {count}"),
            parts: vec![
                memory.private_dirty as f64 / 1e6,
                memory.resident.saturating_sub(memory.private_dirty) as f64 / 1e6,
            ],
            mark: memory.peak as f64 / 1e6,
        });
        let mut row = vec![tokens, count.to_string()];
        row.extend([memory.peak, memory.resident, memory.pss, memory.private_dirty].map(megabytes));
        let faults = [runs.minor_faults, runs.major_faults];
        row.extend(faults.map(|faults| faults.map_or_else(|| "-".into(), digits)));
        table.rows.push(row);
    }
    let plots = vec![Plot::Bars {
        title: "Memory by length and threads".into(),
        unit: "MB".into(),
        parts: vec!["private dirty".into(), "pages of files, which can be dropped".into()],
        mark: "peak".into(),
        bars,
    }];
    let mut rows = Vec::new();
    if let Some(limit) = &record.limit {
        rows.push(("limit".into(), format!("{:.0} MiB, by {}", limit.bytes as f64 / 1048576.0, limit.by)));
        rows.push(("what counts".into(), limit.meaning.clone()));
        if let Some(peak) = limit.peak {
            rows.push(("used of it".into(), format!("{} MB at most", megabytes(peak))));
        }
        if let Some(kills) = limit.kills {
            rows.push(("killed for it".into(), format!("{kills} processes")));
        }
    }
    let notes = vec![
        "Each row: of its processes, the one that took most. Faults are per run; major ones waited for the disk."
            .to_owned(),
    ];
    (!table.rows.is_empty() || !rows.is_empty()).then(|| Section {
        title: "Memory, in MB".into(),
        rows,
        table: Some(table),
        plots,
        notes,
    })
}

/// All times of everything.
fn distributions(record: &Record) -> Plot {
    let points = record.points.iter().map(|point| (point.tokens.to_string(), point.threads, &point.runs));
    let questions = record.questions.iter().map(|point| ("text".to_owned(), point.threads, &point.runs));
    let row = |(what, threads, runs): (String, usize, &Runs)| Distribution {
        name: format!("{what} \u{d7} {threads}"),
        times: runs.all(),
    };
    let rows = points.chain(questions).filter(|(_, _, runs)| runs.summary.is_some()).map(row).collect();
    Plot::Distributions { title: "All times, relative to their median".into(), rows }
}

fn machine(record: &Record) -> Option<Section> {
    let host = &record.host;
    let mut rows = Vec::new();
    let mut row = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            rows.push((name.to_owned(), value));
        }
    };
    row("board", host.board.clone());
    for cpu in &host.cpus {
        let numbers =
            cpu.implementer.iter().chain(&cpu.part).chain(&cpu.revision).cloned().collect::<Vec<_>>().join(" ");
        let numbers = if numbers.is_empty() { numbers } else { format!(" ({numbers})") };
        row("CPU", Some(format!("{} \u{d7} {}{numbers}", cpu.count, cpu.name)));
    }
    row("features", Some(host.features.join(" ")));
    row("kernel", Some(format!("{}, vectors {}", host.kernel, host.vectors)));
    row("memory", host.memory.map(|bytes| format!("{} MB, pages of {} bytes", megabytes(bytes), host.page_bytes)));
    row("system", host.system.clone());
    let linux = host.linux.as_ref().map(|release| format!("Linux {release}"));
    row("software", Some(linux.iter().chain(&host.libc).cloned().collect::<Vec<_>>().join(", ")));
    row("governor", Some(join(&record.before.clocks, |clock| clock.governor.clone())));
    for (name, state) in [("before", &record.before), ("after", &record.after)] {
        row(name, Some(state_line(state)));
    }
    let boot = record.before.throttled_since_boot();
    row("since boot", (!boot.is_empty()).then(|| format!("before this run: {}", boot.join(", "))));
    let asked = !record.after.throttling.is_empty();
    row(
        "throttled",
        Some(match (record.throttled.is_empty(), asked) {
            (false, _) => record.throttled.join(", "),
            (true, true) if !boot.is_empty() => "not seen; see since boot".into(),
            (true, true) => "no".into(),
            (true, false) => "unknown: this system does not tell".into(),
        }),
    );
    let share = |share: f64| format!("{:.1} %", 100.0 * share);
    row(
        "CPU time",
        record.others.zip(record.steal).map(|(others, steal)| {
            format!("{} used by other programs, {} stolen by the hypervisor", share(others), share(steal))
        }),
    );
    Some(Section { title: "Machine".into(), rows, ..Section::default() })
}

fn join(clocks: &[Clock], value: impl Fn(&Clock) -> Option<String>) -> String {
    clocks.iter().filter_map(|clock| Some(format!("{}: {}", clock.cpus, value(clock)?))).collect::<Vec<_>>().join("; ")
}

fn state_line(state: &State) -> String {
    let mhz = |khz: u64| khz / 1000;
    let clocks = join(&state.clocks, |clock| match (clock.khz, clock.max_khz) {
        (Some(now), Some(max)) => Some(format!("{} of {} MHz", mhz(now), mhz(max))),
        (now, max) => Some(format!("{} MHz", mhz(now.or(max)?))),
    });
    let parts = [
        (!clocks.is_empty()).then_some(clocks),
        state.celsius.map(|degrees| format!("{degrees:.1} \u{b0}C")),
        state.load.map(|load| format!("load {load:.2}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Not of what a model file holds, which is another one.
const SHA256: &str = "  sha256 of the file";

fn method(record: &Record) -> Option<Section> {
    let settings = &record.settings;
    let runs = format!(
        "at least {} runs and {} s of each point, or {MOST_RUNS} runs per process; in {} processes, after {} runs to warm up in each",
        settings.min_runs, settings.min_seconds, settings.rounds, settings.warm_up
    );
    let model = &record.model;
    let rows = vec![
        ("runs", runs),
        ("percentiles", "interpolated linearly between the nearest two times".into()),
        ("tokens/s", "tokens divided by the median; questions/s are all questions divided by the time of all".into()),
        ("threads", if settings.pinned { "pinned" } else { "not pinned" }.into()),
        ("model", format!("{}, {} MB, {}", model.file, megabytes(model.bytes), model.shape)),
        (SHA256, model.sha256.clone()),
        ("program", format!("{} MB", megabytes(record.program.bytes))),
        (SHA256, record.program.sha256.clone()),
    ];
    let rows = rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Some(Section { title: "How it was measured".into(), rows, ..Section::default() })
}
