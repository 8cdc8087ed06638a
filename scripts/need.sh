#!/usr/bin/env bash
# Checks what must be on the machine before anything is built: `need.sh demo` or `need.sh test`. Exit status 2 when something is missing.
set -euo pipefail

missing=0
need() { # program, how to get it
    command -v "$1" >/dev/null && return
    echo "missing: $1 - $2" >&2
    missing=1
}

# Whether version $1 is at least $2 (MAJOR.MINOR).
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

need cargo "install Rust 1.95 or newer from https://rustup.rs"
need cc "apt-get install gcc libc6-dev, or your system's C compiler"
need git "apt-get install git"
if command -v cargo >/dev/null; then
    version=$(cargo --version | cut -d ' ' -f 2)
    if ! at_least "$version" 1.95; then
        echo "too old: cargo $version - Humdrum needs Rust 1.95; run \`rustup update\`" >&2
        missing=1
    fi
fi
case ${1:-demo} in
demo) ;;
test)
    need python3 "apt-get install python3"
    need go "install Go 1.25 or newer from https://go.dev/dl"
    need node "install Node 20 or newer from https://nodejs.org"
    ;;
*)
    echo "usage: need.sh demo|test" >&2
    exit 2
    ;;
esac
[ "$missing" = 0 ] || exit 2
