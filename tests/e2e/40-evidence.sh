#!/usr/bin/env bash
# A shipped image in the hands of others: cosign accepts its signature, SBOM and provenance; skopeo copies it out and in again; podman runs it.
# One changed byte of manifest, SBOM or signature, and Humdrum refuses it, each with its own reason.
source "$(dirname "$0")/lib/story.sh"
for tool in cosign skopeo podman; do
    command -v "$tool" >/dev/null || { echo "evidence: $tool is missing; run scripts/test-tools.sh" >&2; exit 2; }
done
python3 "$lib/evidence.py" "$folder"
