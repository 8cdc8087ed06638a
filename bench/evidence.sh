#!/usr/bin/env bash
# The time of one verification: signature, provenance and an SBOM of 2,000 components.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo run --release --locked -p humdrum-evidence --example verify_time "$@"
