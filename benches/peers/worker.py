"""A worker process and the protocol of src/worker/mod.rs."""
import json
import os
import subprocess
import tempfile


class WorkerFailed(Exception):
    """The worker ended or did not answer; says why."""


class Worker:
    """One runtime with one model in a process of its own, from start to `close`."""

    def __init__(self, name, command, environment=None):
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
                env={**os.environ, **(environment or {})},
            )
        except OSError as error:
            raise WorkerFailed(f"cannot start {command[0]}: {error.strerror}") from error
        self.hello = self._answer()

    def measure(self, tokens, runs=1):
        """Wall and CPU times of `runs` inferences, after one that warms up."""
        try:
            self._process.stdin.write(f"{tokens} {runs}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the reason is on standard error, where `_answer` looks for it
        return self._answer()

    def close(self):
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        self._process.wait()

    def _answer(self):
        while line := self._process.stdout.readline():
            if line.startswith("{"):
                return json.loads(line)
        code = self._process.wait()
        self._errors.seek(0)
        reason = [line for line in self._errors.read().splitlines() if line.strip()]
        raise WorkerFailed(reason[-1].strip() if reason else f"ended with exit code {code} and without a word")
