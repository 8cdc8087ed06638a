#!/usr/bin/env bash
# The time of the preview of a lifecycle policy over 100,000 images.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo run --release --locked -p humdrum-registry --example lifecycle_preview "$@"
