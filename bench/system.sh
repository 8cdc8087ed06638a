#!/usr/bin/env bash
# Cold start, memory, verdict → 0 % and the demo, measured with the released binary; prints Markdown. Options as in system.py.
set -euo pipefail
[ -z "${HUMDRUM:-}" ] || HUMDRUM=$(realpath "$HUMDRUM")
cd "$(dirname "$0")/.."

if [ -z "${HUMDRUM:-}" ]; then
    cargo build --release --locked -p humdrum-cli
    HUMDRUM=$PWD/target/release/humdrum
fi
export HUMDRUM
exec python3 bench/system.py "$@"
