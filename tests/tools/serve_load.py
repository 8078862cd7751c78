#!/usr/bin/env python3
"""Loads `edgeqa serve` with good, bad, slow and vanishing clients, and compares every answer with the one `edgeqa ask` gives.

usage: serve_load.py [--program target/release/edgeqa] [--requests 5000] [--clients 8] [--seed 1] [--json FILE]

Starts the daemon on a free port of 127.0.0.1. Each client is a process of its own that draws its requests from this mix:

    60 %  a question with a short context of its own, over a connection that stays open; a third over a new one
    12 %  GET of the page, health, readiness, metrics and info
    12 %  malformed: no HTTP, no JSON, wrong fields, wrong methods and paths, chunks, other sites
     8 %  oversized: head, body, question, context
     6 %  aborted: closed in the middle of the head or the body, or right after the question
     2 %  slow: a question in small pieces, which has to be answered; one in ten of them stops, which has to end in a 408

Fails if an answer differs, a refusal has another code than expected, the daemon does not end well, or its memory grows by
more than 2 MB after the first 1,000 requests. A question whose end is awaited, over a connection old or new or in small pieces, may be
refused because too many wait (`queue_full`), but 90 % of them have to be answered. Needs nothing but Python.
"""

import argparse
import json
import multiprocessing
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONTEXTS = 150
CLIENT_TIMEOUT = 2.0
GROWTH = 2 << 20
QUESTIONS = ["question", "question, new connection", "slow"]
ANSWERED = 0.9
NAMES = ["Ada Morrow", "Jonas Ekdahl", "Marta Lindqvist", "Ibrahim Saleh", "Chen Wei", "Olga Petrova", "Tomás Ruiz", "Aino Virtanen"]
THINGS = ["the lighthouse", "the mill", "the museum", "the bridge", "the station", "the observatory", "the harbour", "the library"]
PLACES = ["Halvik", "Skarvik", "Brenn Point", "Port Elsin", "Norre", "Gull Island", "Västby", "Marrow Hill"]


def contexts(rng):
    """Short texts, each with two questions; some have no answer."""
    for number in range(CONTEXTS):
        name, thing, place = rng.choice(NAMES), rng.choice(THINGS), rng.choice(PLACES)
        year, steps = rng.randrange(1700, 2000), rng.randrange(20, 900)
        text = f"{name} built {thing} of {place} in {year}. It has {steps} steps. Visit number {number} was on a Monday."
        questions = [f"Who built {thing}?", "When was it built?", "How many steps does it have?", f"Where is {thing}?", "What does a ticket cost?"]
        yield text, rng.sample(questions, 2)


def asked_alone(program, rng):
    """The questions as bodies, with the answers of `edgeqa ask`."""
    pairs = []
    for text, questions in contexts(rng):
        top_k = rng.choice([1, 1, 3])
        command = [program, "ask", *questions, "--context", text, "--json", "--threads", "1", "--top-k", str(top_k)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout.splitlines()
        for question, line in zip(questions, lines, strict=True):
            body = {"question": question, "context": text}
            if top_k != 1:
                body["top_k"] = top_k
            pairs.append((json.dumps(body).encode(), answer_of(json.loads(line))))
    return pairs


def answer_of(reply):
    reply.pop("ms", None)
    reply.pop("model", None)
    return reply


def post(body, extra="", path="/v1/ask"):
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{extra}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def get(path, method="GET"):
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


class Client:
    """One connection at a time, opened when needed."""

    def __init__(self, port):
        self.port, self.socket, self.rest = port, None, b""

    def connect(self):
        self.close()
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def close(self, hard=False):
        if self.socket:
            if hard:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.close()
        self.socket, self.rest = None, b""

    def ask(self, data):
        """Sends a request over the open connection, or a new one if the daemon has closed that; returns status and body."""
        for fresh in [self.socket is None, True]:
            if fresh:
                self.connect()
            try:
                self.socket.sendall(data)
                return self.reply()
            except (BrokenPipeError, ConnectionResetError, EOFError):
                if fresh:
                    raise
        raise AssertionError("unreachable")

    def reply(self):
        head, body = self.until(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status == 100:
            return self.reply()
        length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1])
        while len(self.rest) < length:
            self.more()
        body, self.rest = self.rest[:length], self.rest[length:]
        if b"\r\nConnection: close" in head:
            self.close()
        return status, body

    def until(self, end):
        while end not in self.rest:
            self.more()
        head, self.rest = self.rest.split(end, 1)
        return head, self.rest

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError
        self.rest += data


MALFORMED = [
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "malformed_request"),
    (b"GARBAGE\r\n\r\n", "malformed_request"),
    (b"GET / HTTP/1.1\r\nHost\r\n\r\n", "malformed_request"),
    (b"GET / HTTP/3.0\r\nHost: a\r\n\r\n", "http_version"),
    (b"POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "length_required"),
    (b"POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", "malformed_request"),
    (post(b"{"), "invalid_json"),
    (post(b"\xff\xfe"), "invalid_json"),
    (post(b"[" * 5000), "invalid_request"),
    (post(b'{"question":"a","id":' + b"[" * 5000), "invalid_json"),
    (post(b'{"question":1}'), "invalid_request"),
    (post(b'{"question":"a","other":1}'), "invalid_request"),
    (post(b'{"question":" "}'), "empty_question"),
    (post(b'{"question":"a"}'), "no_context"),
    (post(b'{"question":"a","context":"b","top_k":99}'), "invalid_option"),
    (post(b'{"question":"a","context":"b","max_seq_len":100000}'), "invalid_option"),
    (post(b"{}", path="/v2"), "not_found"),
    (get("/v1/ask"), "method_not_allowed"),
    (get("/", "DELETE"), "method_not_allowed"),
    (post(b"{}", "Origin: http://evil.example\r\n"), "foreign_origin"),
    (b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", "foreign_origin"),
]
OVERSIZED = [
    (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 9000 + b"\r\n\r\n", "header_too_large"),
    (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 100 + b"\r\n", "header_too_large"),
    (post(json.dumps({"question": "x" * 1001, "context": "a"}).encode()), "question_too_long"),
    (post(json.dumps({"question": "x", "context": "a" * 200_001}).encode()), "context_too_long"),
    (post(b"x" * 300_000), "body_too_large"),
    (post(b"", "Content-Length: 99999999999999999999\r\n"), "malformed_request"),
]


def work(index, args, port, pairs, counter, results):
    rng = random.Random(args.seed * 1000 + index)
    client = Client(port)
    times, counts, faults = [], {}, []

    def expect(kind, got, want, detail):
        if got != want:
            faults.append(f"{kind}: {got!r} instead of {want!r} for {detail!r}"[:600])

    def question(kind, send):
        body, want = rng.choice(pairs)
        started = time.perf_counter()
        status, reply = send(body)
        times.append(time.perf_counter() - started)
        value = json.loads(reply)
        if status == 503:
            expect(kind, value["error"]["code"], "queue_full", body)
        else:
            expect(kind, answer_of(value), want, body)
        end = "queue_full" if status == 503 else "answered"
        counts[end] = counts.get(end, 0) + 1

    def fresh(body):
        client.close()
        return client.ask(post(body, rng.choice(["", "Connection: close\r\n", "Expect: 100-continue\r\n"])))

    def slowly(body):
        client.connect()
        data = post(body)
        size = len(data) // rng.randrange(5, 20) + 1
        for at in range(0, len(data), size):
            client.socket.sendall(data[at : at + size])
            time.sleep(0.01)
        return client.reply()

    while True:
        with counter.get_lock():
            if counter.value >= args.requests:
                break
            counter.value += 1
        draw = rng.random()
        try:
            if draw < 0.40:
                kind = "question"
                question(kind, lambda body: client.ask(post(body)))
            elif draw < 0.60:
                kind = "question, new connection"
                question(kind, fresh)
            elif draw < 0.72:
                kind = "get"
                path = rng.choice(["/", "/healthz", "/readyz", "/metrics", "/v1/info"])
                expect(kind, client.ask(get(path))[0], 200, path)
            elif draw < 0.84:
                kind = "malformed"
                data, code = rng.choice(MALFORMED)
                expect(kind, json.loads(client.ask(data)[1])["error"]["code"], code, data[:200])
            elif draw < 0.92:
                kind = "oversized"
                client.close()
                data, code = rng.choice(OVERSIZED)
                expect(kind, json.loads(client.ask(data)[1])["error"]["code"], code, data[:200])
            elif draw < 0.98:
                kind = "aborted"
                data = post(rng.choice(pairs)[0])
                client.connect()
                client.socket.sendall(data[: rng.choice([1, 20, len(data) - 5, len(data), len(data)])])
                time.sleep(rng.choice([0, 0, 0.003]))
                client.close(hard=rng.random() < 0.5)
            elif draw < 0.998:
                kind = "slow"
                question(kind, slowly)
            else:
                kind = "too slow"
                client.connect()
                client.socket.sendall(post(b"{}")[: rng.choice([5, 60])])
                expect(kind, client.reply()[0], 408, "a request that does not end")
        except (OSError, EOFError, ValueError, KeyError) as error:
            faults.append(f"{kind}: {error!r}")
            client.close()
        counts[kind] = counts.get(kind, 0) + 1
    results.put((times, counts, faults))


def memory(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return {name: int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) * 1024 for name in ["VmRSS", "RssAnon", "VmHWM"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=str(ROOT / "target/release/edgeqa"))
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()

    pairs = asked_alone(args.program, random.Random(args.seed))
    none = sum(not want["answered"] for _, want in pairs)
    print(f"{len(pairs)} questions asked alone, {none} without an answer", flush=True)
    daemon = subprocess.Popen(
        [args.program, "serve", "--listen", "127.0.0.1:0", "--client-timeout", str(CLIENT_TIMEOUT)],
        stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )
    log = []
    port = None
    while port is None:
        line = daemon.stderr.readline()
        if not line:
            sys.exit("the daemon did not start: " + "".join(log))
        log.append(line)
        found = re.search(r"listening on http://127\.0\.0\.1:(\d+)/", line)
        port = found and int(found[1])

    counter, results = multiprocessing.Value("q", 0), multiprocessing.Queue()
    workers = [
        multiprocessing.Process(target=work, args=(i, args, port, pairs, counter, results)) for i in range(args.clients)
    ]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    samples = []
    while any(worker.is_alive() for worker in workers) and len(samples) < 1_000_000:
        time.sleep(0.1)
        if daemon.poll() is not None:
            sys.exit(f"the daemon ended with {daemon.returncode}")
        samples.append((counter.value, memory(daemon.pid)))
        if not results.empty() and results.qsize() == args.clients:
            break
    times, counts, faults = [], {}, []
    for _ in workers:
        t, c, f = results.get()
        times += t
        faults += f
        for kind, count in c.items():
            counts[kind] = counts.get(kind, 0) + count
    for worker in workers:
        worker.join()
    seconds = time.perf_counter() - started
    client = Client(port)
    metrics = client.ask(get("/metrics"))[1].decode()
    client.close()
    samples.append((counter.value, memory(daemon.pid)))
    stat = Path(f"/proc/{daemon.pid}/stat").read_text().rsplit(")", 1)[1].split()
    daemon.send_signal(signal.SIGTERM)
    code = daemon.wait(timeout=30)
    log += daemon.stderr.readlines()

    times.sort()
    at = lambda share: 1e3 * times[min(len(times) - 1, int(share * len(times)))]
    first = next(sample for done, sample in samples if done >= min(1000, args.requests))
    most = max((sample for done, sample in samples if done >= min(1000, args.requests)), key=lambda sample: sample["VmRSS"])
    last = samples[-1][1]
    figures = {
        "requests": counter.value,
        "clients": args.clients,
        "seconds": round(seconds, 1),
        "kinds": dict(sorted(counts.items())),
        "wrong": len(faults),
        "latency_ms": {f"p{100 * p:g}": round(at(p), 2) for p in [0.5, 0.9, 0.99, 0.999]} | {"max": round(1e3 * times[-1], 2)},
        "rss_after_1000": first["VmRSS"],
        "rss_end": last["VmRSS"],
        "rss_growth": last["VmRSS"] - first["VmRSS"],
        "rss_growth_most": most["VmRSS"] - first["VmRSS"],
        "anonymous_growth": last["RssAnon"] - first["RssAnon"],
        "anonymous_end": last["RssAnon"],
        "rss_peak": last["VmHWM"],
        "cpu_seconds": (int(stat[11]) + int(stat[12])) / 100,
        "exit_code": code,
    }
    print(json.dumps(figures, indent=2))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n")
    for name in ["edgeqa_cancelled_total", "edgeqa_answers_total", "edgeqa_no_answers_total", "edgeqa_connections "]:
        print(*[line for line in metrics.splitlines() if line.startswith(name)])
    asked, answered = sum(counts.get(kind, 0) for kind in QUESTIONS), counts.get("answered", 0)
    if answered < ANSWERED * asked:
        faults.append(f"only {answered} of {asked} questions were answered")
    for line in log:
        if "ERROR" in line or "panic" in line:
            faults.append(f"the daemon's log: {line.strip()}")
    for fault in faults[:20]:
        print("WRONG", fault)
    if code != 0 or faults or figures["rss_growth"] > GROWTH:
        sys.exit("failed")
    print("all answers as when asked alone")


if __name__ == "__main__":
    main()
