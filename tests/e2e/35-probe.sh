#!/usr/bin/env bash
# A service that nobody uses: without declared `probe` traffic its rollout holds and says why; with it a good release is judged and promoted, and a
# bad one is judged and goes back. Nothing but the declared traffic counts, and it ends with the judgement.
source "$(dirname "$0")/lib/story.sh"
python3 "$lib/probe.py" "$folder"
