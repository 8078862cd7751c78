"""Markdown tables of what was measured."""


def table(header, rows):
    """A table whose first column is text and whose others are numbers."""
    lines = [header, ["---"] + ["--:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(value, digits=1):
    return "" if value is None else f"{value:.{digits}f}"


def versions(run):
    """What each runtime is, as a list."""
    hellos = [(runtime["name"], runtime["hello"]) for runtime in run["runtimes"]]
    return "\n".join(f"- {name}: {hello['runtime']} {hello['version']}, {hello['detail']}" for name, hello in hellos)


def medians(run):
    """Milliseconds per inference by length, growth, load time and memory of every runtime in one run."""
    lengths = run["tokens"]
    time = {"cpu_ms": "CPU ms", "wall_ms": "wall ms"}[run["metric"]]
    header = [f"{time}, threads {run['threads']}", *lengths]
    header += [f"growth {lengths[0]} to {lengths[-1]}", "load ms", "peak RSS MB"]
    rows = []
    for runtime in run["runtimes"]:
        times = [number(runtime["median"][str(n)]) for n in lengths]
        rest = [number(runtime["growth"], 2), number(runtime["hello"]["load_ms"], 0), number(runtime["peak_rss_mb"], 0)]
        rows.append([runtime["name"], *times, *rest])
    return table(header, rows)


def ratios(run):
    """The time of edgeqa divided by that of every other runtime, median of the rounds: below 1, edgeqa is faster. Empty without edgeqa."""
    if not run["ratios"]:
        return ""
    header = [f"edgeqa / peer, threads {run['threads']}", *run["tokens"]]
    return table(header, [[name, *(number(of[str(n)], 3) for n in run["tokens"])] for name, of in run["ratios"].items()])


def fastest(run):
    """Milliseconds of the fastest round, by length: what the machine does when nobody else uses it."""
    header = [f"fastest, threads {run['threads']}", *run["tokens"]]
    least = lambda runtime, n: number(min(runtime["samples"][str(n)][run["metric"]]))
    return table(header, [[runtime["name"], *(least(runtime, n) for n in run["tokens"])] for runtime in run["runtimes"]])


def scaling(scaling):
    """Wall time on few threads divided by that on more."""
    header = [f"speed-up, threads {scaling['from']} to {scaling['to']}", *scaling["tokens"]]
    rows = [[name, *(number(of[str(n)], 2) for n in scaling["tokens"])] for name, of in scaling["runtimes"].items()]
    return table(header, rows)


def failures(run):
    """What could not be measured, and why. Empty if everything was."""
    lines = [f"- {name} on {run['threads']} threads: {reason}" for name, reason in run["failed"].items()]
    return "\n".join(["Not measured:", "", *lines]) if lines else ""
