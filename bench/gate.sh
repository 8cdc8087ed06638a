#!/usr/bin/env bash
# The gate over 5,000 findings: ours in process, and `opa eval` with the same policies and document. Figures: docs/benchmarks.md.
set -euo pipefail
cd "$(dirname "$0")/.."
opa=target/tools/bin/opa
[ -x "$opa" ] || { echo "gate: opa is missing; run scripts/test-tools.sh" >&2; exit 2; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cargo build --quiet --release -p humdrum-policy --example gate_findings
target/release/examples/gate_findings "${1:-5000}" "${2:-100}" "$folder"
"$opa" bench --count 1 --data "$folder" --input "$folder/input.json" --format json \
    '[data.humdrum[p].deny | some p]' 2>/dev/null | python3 -c '
import json, sys
said = json.load(sys.stdin)
said = said[0] if isinstance(said, list) else said
print("opa bench, ms an evaluation:", round(said["T"] / said["N"] / 1e6, 2))'
time (for _ in 1 2 3 4 5; do "$opa" eval --data "$folder" --input "$folder/input.json" 'data.humdrum' >"$folder/said"; done)
