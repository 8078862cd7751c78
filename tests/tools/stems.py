#!/usr/bin/env python3
"""Writes tests/golden/stems.txt: the words of models/demo/documents and the examples of Porter's paper, with their stems.

Needs snowballstemmer from PyPI (pip install snowballstemmer), whose "porter" is the algorithm of the paper.
"""

import pathlib
import re

import snowballstemmer

PAPER = """
caresses ponies ties cats feed agreed plastered bled motoring sing conflated troubled sized hopping tanned
falling hissing fizzed failing filing happy sky relational conditional rational valenci hesitanci digitizer
conformabli radicalli differentli vileli analogousli vietnamization predication operator feudalism
decisiveness hopefulness callousness formaliti sensitiviti sensibiliti triplicate formative formalize
electriciti electrical hopeful goodness revival allowance inference airliner gyroscopic adjustable defensible
irritant replacement adjustment dependent adoption homologou communism activate angulariti homologous
effective bowdlerize probate rate cease controll roll
"""

root = pathlib.Path(__file__).resolve().parents[2]
texts = [path.read_text() for path in sorted((root / "models/demo/documents").rglob("*.*"))]
words = {word for text in [PAPER, *texts] for word in re.findall("[a-z]+", text.lower()) if len(word) > 2}
stem = snowballstemmer.stemmer("porter").stemWord
lines = "".join(f"{word} {stem(word)}\n" for word in sorted(words))
(root / "tests/golden/stems.txt").write_text(lines)
