#!/usr/bin/env bash
# Control is killed at every numbered point, before and after each commit and each effect: first while an installation gets its first release,
# then while a canary runs under load. It goes on where it was within 2 s; nothing finished is done again, both releases are promoted, and from
# the first answer of the service on no request is lost (before it, there is nobody who could answer but the edge, that says so).
source "$(dirname "$0")/lib/story.sh"
python3 "$lib/crash_points.py" "$folder"
