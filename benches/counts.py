"""Counts of instructions that are committed, and new ones beside them."""
import json
import sys

# Between compilers, counts move by some percent.
TOLERANCE = 0.03


class Counts:
    """The counts in the JSON file `path`, whose keys lead to one each. With `update`, the new ones are written instead of compared."""

    def __init__(self, path, update):
        self.path, self.update = path, update
        self.record = json.loads(path.read_text()) if path.exists() else {}
        self.failed = False

    def take(self, keys, now, note=""):
        """Compares `now`, of which `note` says more, with the committed count that `keys` lead to, and prints both."""
        name = ", ".join(keys)
        *outer, last = keys
        counts = self.record
        for key in outer:
            counts = counts.setdefault(key, {})
        if self.update:
            counts[last] = now
            print(f"{name}: {now} instructions{note}")
            return
        if last not in counts:
            sys.exit(f"{self.path} has no figure for {name}; run with --update and commit the file")
        ratio = now / counts[last]
        verdict = "within the tolerance"
        if ratio > 1 + TOLERANCE:
            verdict, self.failed = "SLOWER: find the reason, or run with --update and say why in the commit", True
        elif ratio < 1 - TOLERANCE:
            verdict = "fewer: run with --update and commit the file"
        print(f"{name}: {now} instructions{note}, {ratio:.4f} of the committed {counts[last]}: {verdict}")

    def end(self):
        """Writes the file if it is to be updated, and ends the process with 1 if there was a failure, else with 0."""
        if self.update:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(json.dumps(self.record, indent=2) + "\n")
        sys.exit(1 if self.failed else 0)
