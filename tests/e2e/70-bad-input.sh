#!/usr/bin/env bash
# Bad input, damaged data, a full disk: each gives its documented exit code and message, and nothing accepted is lost.
set -euo pipefail
exec python3 -B "$(dirname "$0")/lib/badinput.py"
