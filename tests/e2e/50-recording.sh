#!/usr/bin/env bash
# What the judge of a live rollout saw can be exported, and replayed it gives the same verdict: for a good release and for a bad one.
source "$(dirname "$0")/lib/story.sh"
python3 "$lib/recording.py" "$folder"
