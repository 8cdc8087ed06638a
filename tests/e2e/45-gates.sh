#!/usr/bin/env bash
# Gates as a person meets them: a dry run, an own policy that refuses, a waiver that lets it pass and is revoked, a policy that does not load.
source "$(dirname "$0")/lib/story.sh"
python3 "$lib/gates.py" "$folder"
