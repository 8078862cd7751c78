#!/usr/bin/env python3
"""Writes the notices that a program for a board has to come with: the licences of all that is linked into it, with their texts.

usage: licenses.py TARGET > NOTICES

Asks `cargo metadata` for the packages that the program edgeqa depends on when it is built for TARGET, and takes the texts from their
sources. Each text comes once, with the packages it is that of. A package whose sources hold no text is listed with its licence's name; if
no other package has the text of that licence, it is an error.
"""
import json
import pathlib
import re
import subprocess
import sys

TEXTS = re.compile(r"(licen[cs]e|copying|copyright|notice|unlicense)", re.IGNORECASE)


def linked(metadata):
    """The packages that the root package's program is made of, by name: no macros, which run when it is built."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    macros = {p["id"] for p in metadata["packages"] if any("proc-macro" in target["kind"] for target in p["targets"])}
    seen, ahead = set(), [metadata["resolve"]["root"]]
    while ahead:
        for dependency in nodes[ahead.pop()]["deps"]:
            package = dependency["pkg"]
            if package not in seen | macros and any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                seen.add(package)
                ahead.append(package)
    return sorted((p for p in metadata["packages"] if p["id"] in seen), key=lambda p: (p["name"], p["version"]))


def texts(package):
    """The licence texts among a package's sources."""
    folder = pathlib.Path(package["manifest_path"]).parent
    files = [file for file in folder.iterdir() if file.is_file() and TEXTS.match(file.name)]
    files += [file for sub in ("LICENSES", "licenses") for file in sorted((folder / sub).glob("*")) if file.is_file()]
    if package["license_file"]:
        files.append(folder / package["license_file"])
    for file in sorted(set(files)):
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
        yield "\n".join(line.rstrip() for line in lines).strip("\n")


def choices(package):
    """The licences that a package's expression names: sets, of which one is enough. No expression in use has brackets around OR."""
    expression = (package["license"] or "").replace("/", " OR ")
    return [set(choice.replace("(", "").replace(")", "").split(" AND ")) for choice in re.split(r" +OR +", expression)]


def licence(text):
    """The names of the well-known licences whose text this is, or is among this."""
    words = " ".join(text.split())
    marks = {
        "Apache-2.0": "Apache License Version 2.0, January 2004",
        "MIT": "Permission is hereby granted, free of charge, to any person obtaining a copy",
        "Zlib": "This software is provided 'as-is', without any express or implied warranty",
        "Unlicense": "This is free and unencumbered software released into the public domain",
    }
    return {name for name, mark in marks.items() if mark in words}


def main():
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", sys.argv[1]]
    metadata = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    packages = linked(metadata)
    owners, without, covered = {}, [], set()
    for package in packages:
        found = list(texts(package))
        for text in found:
            # Lines are broken in many ways.
            _, who = owners.setdefault(" ".join(text.split()), (text, []))
            who.append(f"{package['name']} {package['version']}")
        covered.update(*map(licence, found))
        if not found:
            without.append(package)
    for package in without:
        if not any(choice <= covered for choice in choices(package)):
            sys.exit(f"error: {package['name']} {package['version']} ({package['license']}): no text of its licence is known")
    print("edgeqa is linked with the packages below, and with Rust's standard library (MIT OR Apache-2.0, https://www.rust-lang.org).")
    if sys.argv[1].endswith("-musl"):
        print("The static program also holds musl (MIT, https://musl.libc.org).")
    print("Programs that Zig links hold LLVM's libunwind and compiler-rt (Apache-2.0 WITH LLVM-exception, https://llvm.org).")
    print("Their licences follow.\n")
    for package in packages:
        authors = f"; {', '.join(package['authors'])}" if package in without and package["authors"] else ""
        print(f"{package['name']} {package['version']}: {package['license'] or 'see its text'}{authors}")
    for text, who in sorted(owners.values(), key=lambda item: item[1]):
        print(f"\n{'=' * 80}\n{', '.join(who)}\n{'-' * 80}\n{text}")


if __name__ == "__main__":
    main()
