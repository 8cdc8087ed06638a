#!/usr/bin/env bash
# The edge beside nginx and haproxy in interleaved rounds; prints Markdown. Options as in edge.py.
set -euo pipefail
cd "$(dirname "$0")/.."

export PATH=$PATH:/usr/sbin:/sbin
cargo build --profile dist --locked -p humdrum-edge --example edge
exec python3 bench/edge.py "$@"
