#!/usr/bin/env bash
# Every role is killed once, under load: control, edge, agent, an instance, the supervisor. What each may cost is bounded; second ones on the
# same data folder are refused.
source "$(dirname "$0")/lib/story.sh"
python3 "$lib/kill_roles.py" "$folder"
