#!/usr/bin/env bash
# `humdrum explain` gives cause, number and next command: traffic, soak, superseded, rolled back, held, refused by a gate.
set -euo pipefail
exec python3 -B "$(dirname "$0")/lib/projects_explain.py"
