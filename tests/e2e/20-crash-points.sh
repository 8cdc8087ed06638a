#!/usr/bin/env bash
# Control is killed at every numbered point, before and after each commit and each effect, while a canary runs under load. It goes on
# where it was within 2 s; nothing finished is done again, no request is lost, and both releases are promoted.
source "$(dirname "$0")/lib/story.sh"
python3 "$lib/crash_points.py" "$folder"
