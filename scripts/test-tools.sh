#!/usr/bin/env bash
# Installs what the tests need beyond the compiler, as scripts/test-tools.list says. Quick when everything is there.
# Without root it installs what goes into target/tools and prints the command for the rest.
set -euo pipefail
cd "$(dirname "$0")/.."

list=${TEST_TOOLS_LIST:-scripts/test-tools.list}
tools=$PWD/target/tools
log=$tools/install.log
# Programs of the administrator are not always in the PATH of a user.
PATH=$PATH:/usr/sbin:/sbin
mkdir -p "$tools"

fail() {
    echo "test-tools: $1" >&2
    exit 2
}

# Runs a command quietly; shows its end when it fails.
quiet() {
    if ! "$@" >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "\`$*\` failed; the whole output is in target/tools/install.log"
    fi
}

# Whether a tool of target/tools is there in the pinned version.
pinned() { # program version
    [ -x "$tools/bin/$1" ] && [ "$(cat "$tools/$1.version" 2>/dev/null)" = "$2" ]
}

packages=()
# Whether what a Debian package brings is there: a program in the PATH, or a file.
there() { # program or /file
    case $1 in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

while read -r kind name version program; do
    case $kind in '' | '#'*) continue ;; esac
    case $kind in
    apt)
        there "$program" || packages+=("$name")
        continue
        ;;
    go | pypi | npm) pinned "$program" "$version" && continue ;;
    *) fail "$list: unknown kind \`$kind\`" ;;
    esac
    echo "test-tools: installing $program $version"
    mkdir -p "$tools/bin"
    case $kind in
    go)
        command -v go >/dev/null || fail "go is missing; it builds $program. Install Go 1.25 or newer"
        GOBIN=$tools/bin quiet go install "$name@$version"
        ;;
    pypi)
        [ -x "$tools/python/bin/pip" ] || quiet python3 -m venv "$tools/python"
        quiet "$tools/python/bin/pip" install --quiet --disable-pip-version-check "$name==$version"
        ln -sf "$tools/python/bin/$program" "$tools/bin/$program"
        ;;
    npm)
        quiet npm install --silent --no-audit --no-fund --prefix "$tools/node" "$name@$version"
        ln -sf "$tools/node/node_modules/.bin/$program" "$tools/bin/$program"
        ;;
    esac
    [ -x "$tools/bin/$program" ] || fail "$name was installed but gave no \`$program\`"
    echo "$version" >"$tools/$program.version"
done <"$list"

if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" != 0 ]; then
        fail "these packages are missing; install them with
    sudo apt-get update && sudo apt-get install -y --no-install-recommends ${packages[*]}"
    fi
    command -v apt-get >/dev/null || fail "this system has no apt-get; install by its own means: ${packages[*]}"
    echo "test-tools: installing ${packages[*]}"
    # Tests start their own servers on free ports: an installation must start none. A policy that is there already stays.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod +x /usr/sbin/policy-rc.d
    fi
    export DEBIAN_FRONTEND=noninteractive
    quiet apt-get update
    quiet apt-get install -y --no-install-recommends "${packages[@]}"
fi

# What the list promises is there now, or the test run must not start.
while read -r kind _ _ program; do
    case $kind in '' | '#'*) continue ;; esac
    [ "$kind" != apt ] || there "$program" || fail "\`$program\` is still missing"
done <"$list"
