#!/usr/bin/env bash
# Projects that are not in this repository, in Rust, Node and Python, go from `init` to a judged canary.
set -euo pipefail
exec python3 -B "$(dirname "$0")/lib/projects_story.py"
