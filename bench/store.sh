#!/usr/bin/env bash
# Committed transitions per second on SQLite with synchronous=FULL, beside plain rusqlite; fails below the target.
# BENCH_DIR names the folder that is measured; it must lie on a disk, not in memory.
set -euo pipefail
cd "$(dirname "$0")/.."
exec cargo bench --locked -p humdrum-store "$@"
