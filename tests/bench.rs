//! The parts of `edgeqa bench` that can be shown other machines and other figures.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use edgeqa::bench::doubt::warnings;
use edgeqa::bench::host::Host;
use edgeqa::bench::plot::Plot;
use edgeqa::bench::record::{FORMAT, Memory, MemoryLimit, Point, Record, Runs, Settings, Starts, VERSION};
use edgeqa::bench::state::{Clock, State, Throttling};
use edgeqa::bench::stats::Summary;
use edgeqa::bench::{BenchError, html, report, text};
use serde::Deserialize;
use tempfile::{TempDir, tempdir};

#[derive(Deserialize)]
struct Golden {
    name: String,
    times: Vec<f64>,
    min: f64,
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
    mean: f64,
    deviation: f64,
}

/// The goldens are numpy's; tests/tools/bench_stats.py made them.
#[test]
fn figures_are_those_of_numpy() {
    let goldens: Vec<Golden> = serde_json::from_str(include_str!("golden/bench_stats.json")).expect("goldens");
    for golden in &goldens {
        let found = Summary::of(&golden.times).expect("a summary");
        let pairs = [
            (found.min, golden.min),
            (found.p50, golden.p50),
            (found.p90, golden.p90),
            (found.p99, golden.p99),
            (found.max, golden.max),
            (found.mean, golden.mean),
            (found.deviation, golden.deviation),
        ];
        for (found, want) in pairs {
            assert!((found - want).abs() <= 1e-12 * want.abs(), "{}: {found} {want}", golden.name);
        }
    }
    assert_eq!(goldens.len(), 6);
}

/// Writes files of a made-up machine.
fn machine(files: &[(&str, &str)]) -> TempDir {
    let root = tempdir().expect("a folder");
    for (path, content) in files {
        write(root.path(), path, content);
    }
    root
}

fn write(root: &Path, path: &str, content: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, content).expect("written");
}

fn cores(count: usize, part: &str, variant: &str, revision: &str) -> String {
    let core = |n| {
        format!(
            "processor\t: {n}\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n\
             CPU architecture: 8\nCPU variant\t: {variant}\nCPU part\t: {part}\nCPU revision\t: {revision}\n\n"
        )
    };
    (0..count).map(core).collect()
}

const POLICY: &str = "sys/devices/system/cpu/cpufreq/policy0";

#[test]
fn a_raspberry_pi_4_is_described() {
    let info = cores(4, "0xd08", "0x0", "3") + "Revision\t: c03111\nModel\t\t: Raspberry Pi 4 Model B Rev 1.1\n";
    let file = |name: &str| format!("{POLICY}/{name}");
    let root = machine(&[
        ("proc/cpuinfo", &info),
        ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.1\0"),
        ("proc/meminfo", "MemTotal:        3884360 kB\nMemFree:         123 kB\n"),
        ("proc/sys/kernel/osrelease", "6.1.21-v8+\n"),
        ("proc/loadavg", "0.31 0.20 0.10 1/150 999\n"),
        ("etc/os-release", "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 11 (bullseye)\"\n"),
        ("proc/self/maps", "7f00-7f01 r-xp 0 b3:02 77    /lib/aarch64-linux-gnu/libc-2.31.so\n"),
        (
            "lib/aarch64-linux-gnu/libc-2.31.so",
            "\0x\0GNU C Library (Debian GLIBC 2.31-13+rpt2) stable release version 2.31.\nCopyright",
        ),
        (&file("affected_cpus"), "0 1 2 3\n"),
        (&file("scaling_governor"), "ondemand\n"),
        (&file("scaling_cur_freq"), "600000\n"),
        (&file("scaling_max_freq"), "1500000\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "55504\n"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n"),
    ]);
    let host = Host::read(root.path());
    assert_eq!(host.board.as_deref(), Some("Raspberry Pi 4 Model B Rev 1.1"));
    let cpu = &host.cpus[..];
    assert_eq!((cpu.len(), cpu[0].name.as_str(), cpu[0].count), (1, "Arm Cortex-A72", 4));
    let numbers = [&cpu[0].implementer, &cpu[0].part, &cpu[0].revision].map(|value| value.as_deref().expect("known"));
    assert_eq!(numbers, ["0x41", "0xd08", "r0p3"]);
    assert_eq!((host.memory, host.linux.as_deref()), (Some(3884360 * 1024), Some("6.1.21-v8+")));
    assert_eq!(host.system.as_deref(), Some("Debian GNU/Linux 11 (bullseye)"));
    assert_eq!(host.libc.as_deref(), Some("glibc 2.31"));

    let before = State::read(root.path());
    let clock = &before.clocks[0];
    assert_eq!((clock.cpus.as_str(), clock.governor.as_deref()), ("0,1,2,3", Some("ondemand")));
    assert_eq!((clock.khz, clock.max_khz), (Some(600_000), Some(1_500_000)));
    assert_eq!((before.celsius, before.load), (Some(55.504), Some(0.31)));
    // 0x50000: under-voltage and throttling have happened, but not now.
    let flags = &before.throttling[0];
    assert_eq!((flags.raw.as_str(), flags.now.len()), ("50000", 0));
    assert_eq!(flags.since_boot, ["under-voltage", "throttled"]);
    assert_eq!(before.throttled_since(&before), [""; 0], "what happened before is no fault of this run");
    assert_eq!(before.throttled_since_boot(), ["under-voltage (firmware)", "throttled (firmware)"]);

    // 0x80008: the soft limit now; it is said once. 0xd0000: it came and went in between.
    for (raw, want) in [("80008", "soft temperature limit (firmware)"), ("d0000", "soft temperature limit (firmware)")]
    {
        write(root.path(), "sys/devices/platform/soc/soc:firmware/get_throttled", raw);
        assert_eq!(State::read(root.path()).throttled_since(&before), [want], "{raw}");
    }
}

#[test]
fn a_raspberry_pi_5_is_asked_with_its_own_program() {
    let root = machine(&[
        ("proc/cpuinfo", &cores(4, "0xd0b", "0x4", "1")),
        ("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0"),
        // Pages of 16 kB change nothing here: the page size is asked of the system.
        ("usr/bin/vcgencmd", "#!/bin/sh\n[ \"$1\" = get_throttled ] && echo throttled=0xe0006\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "85200\n"),
        ("sys/class/thermal/thermal_zone1/type", "rp1_adc\n"),
        ("sys/class/thermal/thermal_zone1/temp", "99000\n"),
        ("sys/class/thermal/cooling_device0/type", "pwm-fan\n"),
        ("sys/class/thermal/cooling_device0/cur_state", "4\n"),
        ("sys/class/thermal/cooling_device1/type", "cpufreq-cpu0\n"),
        ("sys/class/thermal/cooling_device1/cur_state", "2\n"),
    ]);
    let tool = root.path().join("usr/bin/vcgencmd");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o755)).expect("executable");
    let host = Host::read(root.path());
    assert_eq!((host.cpus[0].name.as_str(), host.cpus[0].revision.as_deref()), ("Arm Cortex-A76", Some("r4p1")));
    let state = State::read(root.path());
    assert_eq!(state.celsius, Some(85.2), "the sensor of the CPU counts");
    let want = ["clock capped (vcgencmd)", "throttled (vcgencmd)", "clock capped by heat (cooling device)"];
    assert_eq!(state.throttled_since(&State::default()), want);
    assert_eq!(State { throttling: vec![], ..state.clone() }.throttled_since(&state), [""; 0]);
}

#[test]
fn throttling_of_a_pc_is_counted() {
    let count = "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count";
    let root = machine(&[("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "7"), (count, "3")]);
    let before = State::read(root.path());
    assert_eq!(before.throttled_since(&before), [""; 0]);
    write(root.path(), count, "5\n");
    assert_eq!(State::read(root.path()).throttled_since(&before), ["throttled 2 times (core_throttle_count)"]);
}

#[test]
fn an_empty_machine_says_nothing() {
    let root = machine(&[]);
    assert_eq!(State::read(root.path()), State::default());
    let nonsense = machine(&[
        ("proc/cpuinfo", "processor\nprocessor : 0\nCPU variant: x\nCPU revision: y\n"),
        ("proc/meminfo", "MemTotal: 99999999999999999999 kB\n"),
        ("proc/loadavg", ""),
        ("sys/class/thermal/thermal_zone0/temp", "cold\n"),
        ("sys/devices/platform/soc/soc:firmware/get_throttled", "zz\n"),
    ]);
    assert_eq!(State::read(nonsense.path()), State::default());
    assert_eq!(Host::read(nonsense.path()).memory, None);
}

/// A record whose times are `times` of every process, times the number of tokens.
pub fn record(times: &[&[f64]], tokens: &[usize]) -> Record {
    let point = |&tokens: &usize| {
        let seconds: Vec<Vec<f64>> =
            times.iter().map(|times| times.iter().map(|time| time * tokens as f64).collect()).collect();
        let memory =
            Some(Memory { peak: 60_000_000, resident: 50_000_000, pss: 45_000_000, private_dirty: 20_000_000 });
        let runs = Runs { summary: Summary::of(&seconds.concat()), seconds, memory, ..Runs::default() };
        Point { tokens, threads: 1, runs, tokens_per_second: None }
    };
    Record {
        format: FORMAT.into(),
        format_version: VERSION,
        date: "2026-01-02T03:04:05Z".into(),
        program: Default::default(),
        model: Default::default(),
        settings: Default::default(),
        host: Host { board: Some("<Board> & co".into()), ..Host::default() },
        before: State::default(),
        after: State::default(),
        throttled: Vec::new(),
        steal: None,
        others: None,
        warnings: Vec::new(),
        limit: None,
        load: Starts { warm: vec![0.01, 0.012], ..Starts::default() },
        first_answer: Starts::default(),
        first_answer_warm: None,
        points: tokens.iter().map(point).collect(),
        questions: Vec::new(),
    }
}

#[test]
fn a_throttled_run_says_so_in_every_output_and_foreign_text_stays_text() {
    let mut record = record(&[&[1.0, 1.1]], &[32]);
    record.throttled = vec!["soft temperature limit (vcgencmd)".into()];
    let page = report::page(&record);
    let terminal = text::terminal(&page);
    assert!(terminal.contains("\nTHROTTLED: soft temperature limit (vcgencmd)\n"), "{terminal}");
    assert!(text::markdown(&page).contains("> **Throttled:** soft temperature limit (vcgencmd)\n"));
    let html = html::html(&page);
    assert!(html.contains("<p class=\"alert\">Throttled: soft temperature limit (vcgencmd)</p>"));
    assert!(record.json().expect("JSON").contains("\"throttled\":[\"soft temperature limit (vcgencmd)\"]"));
    assert!(html.contains("&lt;Board&gt; &amp; co") && !html.contains("<Board>"));
    assert!(!html.contains("<script") && !html.contains("http"), "nothing is fetched or run");
    assert_eq!(html.matches("<svg ").count(), 3);
}

#[test]
fn without_starts_there_is_no_table_of_them() {
    let mut record = record(&[&[1.0, 1.1]], &[32]);
    assert!(text::terminal(&report::page(&record)).contains("\nStart, in ms\n"));
    (record.load, record.first_answer_warm) = (Default::default(), Some(0.02));
    assert!(!text::terminal(&report::page(&record)).contains("Start, in ms"));
}

#[test]
fn a_flag_that_was_set_before_leaves_doubt() {
    let mut record = record(&[&[1.0, 1.1]], &[32]);
    let root = machine(&[("sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n")]);
    record.before = State::read(root.path());
    record.after = record.before.clone();
    let told = |record: &Record| warnings(record).iter().any(|warning| warning.contains("under-voltage (firmware)"));
    assert!(told(&record), "{:?}", warnings(&record));
    let page = text::terminal(&report::page(&record));
    assert!(page.contains("not seen; see since boot"), "{page}");
    // What was seen is said already.
    record.throttled = vec!["under-voltage (firmware)".into()];
    assert!(!told(&record));
    record.before = State::default();
    record.throttled = Vec::new();
    assert_eq!(warnings(&record), [""; 0]);
}

#[test]
fn records_are_read_back_and_others_refused() {
    let folder = tempdir().expect("a folder");
    let path = folder.path().join("r.json");
    let record = record(&[&[1.0, 1.1]], &[32]);
    let good = record.json().expect("JSON");
    fs::write(&path, &good).expect("written");
    assert_eq!(Record::read(&path).expect("a record"), record);
    for (from, to, problem) in [
        ("\"format_version\":1", "\"format_version\":2", "version 2 of the format, and this program reads version 1"),
        ("\"format_version\":1", "\"format_version\":null", "no format_version"),
        ("edgeqa-bench", "hyperfine", "does not say \"format\": \"edgeqa-bench\""),
        ("\"tokens\":32", "\"tokens\":\"x\"", "points[0]"),
        ("32.0,", "-32.0,", "a time is not from a nanosecond to a day"),
        ("32.0,", "1e-300,", "a time is not from a nanosecond to a day"),
        ("32.0,", "1e300,", "a time is not from a nanosecond to a day"),
        ("{", "", "line 1"),
    ] {
        fs::write(&path, good.replacen(from, to, 1)).expect("written");
        let error = Record::read(&path).expect_err(to).to_string();
        assert!(error.contains(problem) && error.contains("r.json"), "{to}: {error}");
    }
    fs::write(&path, b"\xff\xfe{\0").expect("written");
    let error = Record::read(&path).expect_err("no text").to_string();
    assert!(error.contains("r.json is no record of edgeqa bench: ") && error.contains("make one with"), "{error}");
    // Records are read that were written before these were.
    let fields = ["\"text_sha256\":null,", ",\"questions_sha256\":null", "\"threads\":null,"];
    let old = fields.iter().fold(good, |good, field| {
        assert!(good.contains(field), "{field}");
        good.replace(field, "")
    });
    fs::write(&path, old).expect("written");
    assert_eq!(Record::read(&path).expect("a record"), record);
    let error = Record::read(&folder.path().join("none")).expect_err("missing");
    assert!(matches!(error, BenchError::Read { .. }), "{error}");
}

#[test]
fn a_report_says_how_it_was_measured_and_what_was_not() {
    let mut record = record(&[&[1.0, 1.1]], &[32]);
    record.settings = Settings { min_runs: 20, min_seconds: 2.0, rounds: 5, warm_up: 2, ..Settings::default() };
    record.load.threads = Some(4);
    let doubt = "the limit on memory may not count the model: 100 % of the model stayed in the page cache";
    record.limit = Some(MemoryLimit { bytes: 64 << 20, doubt: Some(doubt.into()), ..MemoryLimit::default() });
    let page = text::terminal(&report::page(&record));
    for sentence in [
        "at least 20 runs and 2 s of each point, or 1000 runs per process; in 5 processes, after 2 runs to warm up in each",
        "Each row: of its processes, the one that took most.",
        "sha256 of the file",
        "With 4 threads.",
    ] {
        assert!(page.contains(sentence), "{sentence}: {page}");
    }
    assert_eq!(warnings(&record), [doubt]);
    // Who waits for the disk does not wait for a CPU.
    record.points[0].runs.cpu_share = Some(0.3);
    assert!(warnings(&record)[1].contains("threads had to wait for a CPU"), "{:?}", warnings(&record));
    record.points[0].runs.major_faults = Some(200.0);
    assert_eq!(warnings(&record), [doubt]);
}

#[test]
fn figures_of_a_report_are_the_right_ones_in_their_units() {
    let mut record = record(&[&[0.001, 0.002, 0.003]], &[32, 64]);
    record.points[0].runs.cpu_share = Some(0.5);
    let memory = record.points[1].runs.memory.as_mut().expect("memory");
    (memory.peak, memory.resident) = (70_000_000, 40_000_000);
    let mut faster = record.points[1].clone();
    faster.threads = 2;
    faster.runs.summary.as_mut().expect("a summary").p50 = 0.0625;
    record.points.push(faster);
    record.limit = Some(MemoryLimit { bytes: 64 << 20, by: "RLIMIT_DATA".into(), ..MemoryLimit::default() });
    (record.others, record.steal) = (Some(0.031), Some(0.004));
    let clock = Clock { cpus: "0-3".into(), khz: Some(600_000), max_khz: Some(1_500_000), ..Clock::default() };
    record.before.clocks = vec![clock];
    record.after.throttling = vec![Throttling::default()];
    let page = report::page(&record);
    let highlights: Vec<_> = page.highlights.iter().map(|(value, what)| format!("{value} {what}")).collect();
    assert_eq!(highlights, ["62.5 ms for 64 tokens on 2 threads", "70.0 MB of memory at most"]);
    let section = |title: &str| page.sections.iter().find(|section| section.title == title).expect(title);
    let latency = &section("Latency of the model, in ms").table.as_ref().expect("a table").rows[0];
    assert_eq!(latency[..4], ["32", "1", "32.0", "64.0"]);
    assert_eq!(latency[6..], ["64.0", "32.0", "", "50 %", "3"]);
    let row = |title: &str, name: &str| {
        let mut rows = section(title).rows.iter();
        rows.find(|(other, _)| other == name).map(|(_, value)| value.clone()).expect(name)
    };
    assert_eq!(row("Machine", "before"), "0-3: 600 of 1500 MHz");
    assert_eq!(row("Machine", "throttled"), "no");
    let share = "3.1 % used by other programs, 0.4 % stolen by the hypervisor";
    assert_eq!(row("Machine", "CPU time"), share);
    assert_eq!(row("Memory, in MB", "limit"), "64 MiB, by RLIMIT_DATA");
    let Plot::Bars { bars, .. } = &section("Memory, in MB").plots[0] else { panic!("no bars") };
    assert_eq!((&bars[0].parts[..], bars[0].mark), (&[20.0, 30.0][..], 60.0));
}

#[test]
fn doubts_begin_at_their_limits() {
    let mut record = record(&[&[1.0, 1.1]], &[32]);
    let mut warned = |steal, others, load, cpu_share, runs, outliers| {
        (record.steal, record.others, record.before.load) = (Some(steal), Some(others), Some(load));
        let of_point = &mut record.points[0].runs;
        of_point.cpu_share = Some(cpu_share);
        let summary = of_point.summary.as_mut().expect("a summary");
        (summary.runs, summary.outliers) = (runs, outliers);
        warnings(&record).len()
    };
    // No CPU is named, which counts as one.
    assert_eq!(warned(0.01, 0.05, 0.5, 0.9, 40, 2), 0);
    assert_eq!(warned(0.011, 0.05, 0.5, 0.9, 40, 2), 1);
    assert_eq!(warned(0.01, 0.051, 0.5, 0.9, 40, 2), 1);
    assert_eq!(warned(0.01, 0.05, 0.51, 0.9, 40, 2), 1);
    assert_eq!(warned(0.01, 0.05, 0.5, 0.89, 40, 2), 1);
    assert_eq!(warned(0.01, 0.05, 0.5, 0.9, 39, 2), 1);
    assert_eq!(warned(0.01, 0.05, 0.5, 0.9, 10, 1), 0);
}
