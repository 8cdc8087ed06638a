# Sourced by the stories: a folder of its own that ends with the story, and whatever runs in it too.
set -euo pipefail
: "${HUMDRUM:?the path of the binary}"
export HUMDRUM
lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=$lib
unset HUMDRUM_DATA HUMDRUM_CRASH_LEDGER

# Short: the path of a unix socket has 107 bytes. Instances run as users of their own and have to pass through.
folder=$(mktemp -d "${TMPDIR:-/tmp}/humdrum-story-XXXXXX")
chmod 755 "$folder"

the_end() {
    status=$?
    trap - EXIT
    if [ "$status" != 0 ] && [ -d "$folder/data/logs" ]; then
        tail -n 8 "$folder"/data/logs/*.log >&2 || true
    fi
    timeout 150 "$HUMDRUM" --data "$folder/data" down >/dev/null 2>&1 || true
    if [ -n "${KEEP:-}" ]; then
        echo "kept: $folder" >&2
    else
        rm -rf "$folder"
    fi
    exit "$status"
}
trap the_end EXIT
trap 'exit 130' INT TERM
