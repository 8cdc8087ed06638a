#!/usr/bin/env bash
# `humdrum demo` for somebody who has nothing yet: two good releases are promoted, the bad one goes back, and no request is lost.
set -euo pipefail
: "${HUMDRUM:?the path of the binary}"

folder=$(mktemp -d "${TMPDIR:-/tmp}/humdrum-story-XXXXXX")
trap 'rm -rf "$folder"' EXIT
# Instances run as users of their own and have to pass through.
chmod 755 "$folder"
mkdir "$folder/home" "$folder/tmp"
chmod 755 "$folder/tmp"

# The compiler is found where it is installed; everything else of the home is empty.
: "${CARGO_HOME:=$HOME/.cargo}" "${RUSTUP_HOME:=$HOME/.rustup}"
export CARGO_HOME RUSTUP_HOME
status=0
env -u HUMDRUM_DATA -u XDG_DATA_HOME -u HUMDRUM_CRASH_LEDGER HOME="$folder/home" TMPDIR="$folder/tmp" \
    timeout 300 "$HUMDRUM" demo --json >"$folder/out" 2>"$folder/err" || status=$?
if [ "$status" != 0 ]; then
    tail -n 20 "$folder/out" "$folder/err" >&2
    echo "demo: exit status $status, expected 0" >&2
    exit 1
fi

python3 - "$folder/out" <<'PYTHON'
import json, sys

lines = open(sys.argv[1]).read().strip().splitlines()
summary = json.loads(lines[-1])
releases, requests = summary["releases"], summary["requests"]
failures = []

def must(right, what):
    if not right:
        failures.append(what)

outcomes = [release["outcome"] for release in releases]
must(outcomes == ["promoted", "promoted", "rolled_back"], f"outcomes are {outcomes}")
must(requests["lost"] == 0, f"{requests['lost']} requests were lost")
must(requests["sent"] >= 1000 * 10, f"only {requests['sent']} requests were sent")
must(summary["seconds"] <= 120, f"it took {summary['seconds']} s, 120 s are allowed")
if len(releases) == 3:
    first, good, bad = releases
    must(first["canary_share_max"] == 100 and first["seconds_to_verdict"] is None, f"the first release had no canary: {first}")
    must(good["canary_share_max"] == 100, f"the good release reached {good['canary_share_max']} %")
    must(good["seconds_to_verdict"] is not None and good["seconds_verdict_to_zero"] is None, f"the good release: {good}")
    must(bad["canary_share_max"] < 100, f"the bad release had {bad['canary_share_max']} %")
    must(bad["seconds_verdict_to_zero"] is not None and bad["seconds_verdict_to_zero"] <= 1, f"verdict to zero: {bad['seconds_verdict_to_zero']} s")
    must(len({release["digest"] for release in releases}) == 3, "three commits gave fewer digests")
if failures:
    sys.exit("demo: " + "; ".join(failures) + f"\n{lines[-1]}")
bad = releases[2]
print(
    f"demo: {summary['seconds']:.1f} s, {requests['sent']} requests, {requests['lost']} lost, bad release at most {bad['canary_share_max']} %, "
    f"verdict after {bad['seconds_to_verdict']:.1f} s, zero {bad['seconds_verdict_to_zero'] * 1000:.0f} ms later"
)
PYTHON
if [ -n "$(find "$folder/tmp" -mindepth 1 -print -quit)" ]; then
    find "$folder/tmp" | head -n 5 >&2
    echo "demo: it left files behind" >&2
    exit 1
fi
