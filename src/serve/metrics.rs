//! What the daemon counts, as Prometheus reads it.

use std::fmt::Write;
use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::error::Code;
use super::pace::Pace;
use crate::memory;

/// Upper bounds of the histograms, in seconds.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0];

/// How long something took, how often.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Not cumulative; the last one is for everything above the bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BOUNDS.iter().position(|&bound| seconds <= bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    fn write(&self, page: &mut Page, name: &str, help: &str) {
        page.head(name, "histogram", help);
        let mut sum = 0;
        for (bound, bucket) in BOUNDS.iter().zip(&self.buckets) {
            sum += bucket.load(Ordering::Relaxed);
            page.line(&format!("{name}_bucket{{le=\"{bound}\"}}"), sum);
        }
        sum += self.buckets[BOUNDS.len()].load(Ordering::Relaxed);
        page.line(&format!("{name}_bucket{{le=\"+Inf\"}}"), sum);
        page.line(&format!("{name}_sum"), self.micros.load(Ordering::Relaxed) as f64 / 1e6);
        page.line(&format!("{name}_count"), sum);
    }
}

/// A model that was offered and not taken.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Refusal {
    /// The file.
    pub path: String,
    /// The kind of problem.
    pub reason: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

/// The counters.
#[derive(Debug)]
pub struct Metrics {
    started: Instant,
    /// From the complete request to the answer.
    pub request: Histogram,
    /// In the model, of what took too long, too.
    pub inference: Histogram,
    /// How long the latest took there.
    pub pace: Pace,
    /// Questions with an answer.
    pub answers: AtomicU64,
    /// Questions without.
    pub no_answers: AtomicU64,
    /// Requests whose client went before there was an answer.
    pub cancelled: AtomicU64,
    /// 1 while a question is read, else 0.
    pub busy: AtomicU64,
    /// Connections that were accepted.
    pub accepted: AtomicU64,
    /// Models that were taken after the first.
    pub swaps: AtomicU64,
    /// Models that were refused.
    pub refusals: AtomicU64,
    /// Self-tests of the running model that passed, and those that failed.
    pub self_tests: [AtomicU64; 2],
    rejected: Vec<AtomicU64>,
    last_refusal: Mutex<Option<Refusal>>,
}

/// What is measured at the time of asking.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// Requests that wait.
    pub queue: usize,
    /// How many may wait.
    pub queue_capacity: usize,
    /// Open connections.
    pub connections: usize,
    /// Whether questions are answered.
    pub ready: bool,
    /// The model's checksum.
    pub model_sha256: String,
    /// The model's file.
    pub model_path: String,
    /// The documents.
    pub documents: Option<DocumentGauges>,
}

/// What is measured of the documents at the time of asking.
#[derive(Clone, Copy, Debug)]
pub struct DocumentGauges {
    /// Files that questions are answered from.
    pub files: usize,
    /// Passages of these.
    pub passages: usize,
    /// What is not answered from, or not in its newest version.
    pub skipped: usize,
    /// Whether the folder can be listed and holds text.
    pub readable: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            request: Histogram::default(),
            inference: Histogram::default(),
            pace: Pace::default(),
            answers: AtomicU64::default(),
            no_answers: AtomicU64::default(),
            cancelled: AtomicU64::default(),
            busy: AtomicU64::default(),
            accepted: AtomicU64::default(),
            swaps: AtomicU64::default(),
            refusals: AtomicU64::default(),
            self_tests: Default::default(),
            rejected: Code::ALL.iter().map(|_| AtomicU64::default()).collect(),
            last_refusal: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Adds one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that was refused.
    pub fn reject(&self, code: Code) {
        Self::count(&self.rejected[code as usize]);
    }

    /// Remembers why a model was refused.
    pub fn refuse(&self, refusal: Refusal) {
        Self::count(&self.refusals);
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }

    /// Forgets it, as a good one has come.
    pub fn forget_refusal(&self) {
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The model that was refused last, if none was taken since.
    pub fn last_refusal(&self) -> Option<Refusal> {
        self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Since when the daemon runs.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Everything, in the text format of Prometheus.
    pub fn page(&self, gauges: &Gauges) -> String {
        let mut page = Page::default();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.request.write(
            &mut page,
            "edgeqa_request_seconds",
            "From the complete request to its answer, if it got one.",
        );
        self.inference.write(
            &mut page,
            "edgeqa_inference_seconds",
            "Reading and answering, also of questions that took too long.",
        );
        page.one("edgeqa_answers_total", "counter", "Questions with an answer.", get(&self.answers));
        page.one("edgeqa_no_answers_total", "counter", "Questions without an answer.", get(&self.no_answers));
        page.one("edgeqa_cancelled_total", "counter", "Requests whose client went.", get(&self.cancelled));
        page.head("edgeqa_rejected_total", "counter", "Requests refused, by the code of the error.");
        for (code, counter) in Code::ALL.iter().zip(&self.rejected) {
            page.line(&format!("edgeqa_rejected_total{{code=\"{}\"}}", code.as_str()), get(counter));
        }
        page.one("edgeqa_connections_total", "counter", "Connections accepted.", get(&self.accepted));
        page.one("edgeqa_connections", "gauge", "Connections open.", gauges.connections);
        page.one("edgeqa_busy", "gauge", "1 while a question is read.", get(&self.busy));
        page.one("edgeqa_queue_length", "gauge", "Requests that wait.", gauges.queue);
        page.one("edgeqa_queue_capacity", "gauge", "Requests that may wait.", gauges.queue_capacity);
        page.one("edgeqa_ready", "gauge", "1 if questions are answered.", u8::from(gauges.ready));
        page.head("edgeqa_model_info", "gauge", "The model in use.");
        let (sha256, path) = (label(&gauges.model_sha256), label(&gauges.model_path));
        page.line(&format!("edgeqa_model_info{{data_sha256=\"{sha256}\",path=\"{path}\"}}"), 1);
        page.one("edgeqa_model_swaps_total", "counter", "Models taken after the first.", get(&self.swaps));
        page.one("edgeqa_model_refusals_total", "counter", "Models refused.", get(&self.refusals));
        if let Some(refusal) = self.last_refusal() {
            page.head("edgeqa_model_refused_info", "gauge", "The model refused last, if none was taken since.");
            let (reason, path) = (refusal.reason, label(&refusal.path));
            let message = label(&refusal.message);
            let labels = format!("reason=\"{reason}\",path=\"{path}\",message=\"{message}\"");
            page.line(&format!("edgeqa_model_refused_info{{{labels}}}"), 1);
        }
        page.head("edgeqa_self_tests_total", "counter", "Self-tests of the model in use, after the first.");
        for (result, counter) in ["passed", "failed"].iter().zip(&self.self_tests) {
            page.line(&format!("edgeqa_self_tests_total{{result=\"{result}\"}}"), get(counter));
        }
        if let Some(documents) = &gauges.documents {
            page.one("edgeqa_documents", "gauge", "Files that questions are answered from.", documents.files);
            page.one("edgeqa_passages", "gauge", "Passages of these files.", documents.passages);
            page.one(
                "edgeqa_documents_skipped",
                "gauge",
                "Files that are not answered from, or not in their newest version.",
                documents.skipped,
            );
            page.one(
                "edgeqa_documents_readable",
                "gauge",
                "Whether the folder of the documents can be listed and holds text.",
                u8::from(documents.readable),
            );
        }
        page.one("edgeqa_uptime_seconds", "gauge", "Since the start.", self.uptime().as_secs_f64());
        page.memory(&fs::read_to_string("/proc/self/status").unwrap_or_default());
        page.text
    }
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = writeln!(self.text, "{name} {value}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl std::fmt::Display) {
        self.head(name, kind, help);
        self.line(name, value);
    }

    /// Memory from `/proc/self/status`; nothing where the system does not tell.
    fn memory(&mut self, status: &str) {
        let kinds = [("resident", "VmRSS"), ("peak", "VmHWM"), ("anonymous", "RssAnon"), ("file", "RssFile")];
        let found: Vec<_> =
            kinds.iter().filter_map(|(kind, name)| Some((kind, memory::status(name, status)?))).collect();
        if !found.is_empty() {
            self.head("edgeqa_memory_bytes", "gauge", "Memory of the process; file is the mapped model, mostly.");
        }
        for (kind, bytes) in found {
            self.line(&format!("edgeqa_memory_bytes{{kind=\"{kind}\"}}"), bytes);
        }
    }
}

/// The value of a label.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_end_with_the_count() {
        let metrics = Metrics::default();
        for millis in [1, 5, 6, 700, 100_000] {
            metrics.request.observe(Duration::from_millis(millis));
        }
        let text = metrics.page(&Gauges::default());
        for (bound, count) in [("0.005", 2), ("0.01", 3), ("0.5", 3), ("1", 4), ("60", 4), ("+Inf", 5)] {
            assert!(text.contains(&format!("\nedgeqa_request_seconds_bucket{{le=\"{bound}\"}} {count}\n")), "{bound}");
        }
        assert!(text.contains("edgeqa_request_seconds_sum 100.712\nedgeqa_request_seconds_count 5\n"));
    }

    #[test]
    fn every_line_is_a_comment_or_a_name_and_a_number() {
        let metrics = Metrics::default();
        metrics.reject(Code::QueueFull);
        let message = "no \"sum\"\nat all \\".to_owned();
        metrics.refuse(Refusal { path: "/x".into(), reason: "checksum", message });
        let text = metrics.page(&Gauges {
            documents: Some(DocumentGauges { files: 2, passages: 9, skipped: 1, readable: true }),
            ..Gauges::default()
        });
        for line in text.lines().filter(|line| !line.starts_with("# ")) {
            let (name, value) = line.rsplit_once(' ').expect("two parts");
            assert!(name.starts_with("edgeqa_") && value.parse::<f64>().is_ok(), "{line}");
        }
        assert!(text.contains("edgeqa_rejected_total{code=\"queue_full\"} 1\n"));
        assert!(text.contains(r#"reason="checksum",path="/x",message="no \"sum\"\nat all \\"} 1"#));
    }
}
