#!/usr/bin/env bash
# Runs the whole stories of tests/e2e/*.sh with the released binary, each with a bound; names the ones that fail.
# `scripts/e2e.sh NAME…` runs those only.
set -euo pipefail
cd "$(dirname "$0")/.."

# A story that takes longer hangs: the longest known one is the crash test with 6 minutes.
seconds_max=600

shopt -s nullglob
stories=(tests/e2e/*.sh)
if [ $# -gt 0 ]; then
    stories=("${@/#/tests/e2e/}")
    stories=("${stories[@]/%/.sh}")
fi
if [ ${#stories[@]} = 0 ]; then
    echo "e2e: no stories in tests/e2e"
    exit 0
fi

cargo build --release --locked -p humdrum-cli
export HUMDRUM=$PWD/target/release/humdrum
export PATH=$PWD/target/tools/bin:$PATH:/usr/sbin:/sbin
export CONTAINERS_CONF=$PWD/scripts/containers.conf
logs=$PWD/target/e2e
mkdir -p "$logs"

failed=()
for story in "${stories[@]}"; do
    name=$(basename "$story" .sh)
    start=$SECONDS
    if timeout --kill-after=10 "$seconds_max" bash "$story" >"$logs/$name.log" 2>&1; then
        echo "e2e: $name passed in $((SECONDS - start)) s"
    else
        status=$?
        failed+=("$name")
        echo "e2e: $name FAILED with status $status after $((SECONDS - start)) s; the end of target/e2e/$name.log:"
        tail -n 40 "$logs/$name.log"
    fi
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "e2e: ${#failed[@]} of ${#stories[@]} failed: ${failed[*]}" >&2
    exit 1
fi
