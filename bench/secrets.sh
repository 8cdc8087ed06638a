#!/usr/bin/env bash
# Secret scans beside gitleaks: a generated history of more than 1 GB of blobs, and staged changes. Options: bench/secrets.py --help.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/test-tools.sh
cargo build --release --locked -p humdrum-cli
exec python3 bench/secrets.py "$@"
