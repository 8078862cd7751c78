#!/usr/bin/env bash
# Drives the page of `edgeqa serve` in Chromium, with the program that the tests have built (EDGEQA_BIN names another).
# Needs chromium and node. Screenshots: target/screenshots.
set -euo pipefail
cd "$(dirname "$0")"

skip() { echo "SKIPPED the page in Chromium: $*"; exit 0; }

[ -x "${CHROMIUM:-/usr/bin/chromium}" ] || skip "there is no chromium; set CHROMIUM to one"
command -v node >/dev/null && command -v npm >/dev/null || skip "there is no Node.js with npm"
[ "$(node --print 'process.versions.node.split(".")[0] >= 20')" = true ] || skip "Node.js is older than 20"
if ! cmp -s package-lock.json node_modules/.edgeqa-lock; then
    if ! npm ci --ignore-scripts --no-audit --no-fund >/dev/null; then
        # With a registry, something is wrong with what package.json names.
        ! npm ping >/dev/null 2>&1 || exit 1
        skip "npm could not install what package.json names"
    fi
    cp package-lock.json node_modules/.edgeqa-lock
fi
exec node --test --test-reporter=spec page.test.mjs
