"""Three projects of other people: init, at most ten changed manifest lines, ship, a judged canary; one bad release goes back."""

import subprocess
import time

from ports import free_ports
from projects import MANIFEST_LINES_MAX, Repository, expect, installation, lines_changed, load, say, story
from projects_sources import NODE_PACKAGE, NODE_SERVER, PYTHON_APP, PYTHON_REQUIREMENTS, RUST_CARGO, RUST_MAIN

# What a user with little time writes: few steps, short blocks, errors alone.
CANARY = "{ canary: { steps: [10, 50, 100], rule_out: [10, 4], block: 500ms, warmup: 0s, soak: 1s, deadline: 60s, metrics: [errors] } }"

SOURCES = {
    "rust": ({"Cargo.toml": RUST_CARGO, "src/main.rs": RUST_MAIN, ".gitignore": "/target\n"}, "src/main.rs", ["cargo", "generate-lockfile", "--quiet"]),
    "node": ({"package.json": NODE_PACKAGE, "server.js": NODE_SERVER, ".gitignore": "node_modules\n"}, "server.js", ["npm", "install", "--package-lock-only", "--silent"]),
    "python": ({"app.py": PYTHON_APP, "requirements.txt": PYTHON_REQUIREMENTS}, "app.py", None),
}
BROKEN = {"rust": ("BROKEN_PER_HUNDRED: usize = 0", "BROKEN_PER_HUNDRED: usize = 30")}


def settle(repository):
    """The lines that this machine and this hurry ask for; everything else stays as `init` wrote it."""
    path = repository.folder / "humdrum.yaml"
    before = path.read_text()
    dev, staging, production = free_ports(3)
    after = before.replace("  port: 8080", f"  port: {production}")
    after = after.replace("dev: {}", f"dev: {{ port: {dev}, instances: 1 }}")
    after = after.replace("staging: { after: dev, soak: 10s }", f"staging: {{ after: dev, port: {staging}, instances: 1, soak: 1s }}")
    after = "\n".join(f"    rollout: {CANARY}" if "rollout:" in line else line for line in after.splitlines()) + "\n"
    path.write_text(after)
    changed = lines_changed(before, after)
    expect(changed <= MANIFEST_LINES_MAX, f"{changed} lines had to be changed:\n{after}")
    return production, changed


def verdicts(home, service):
    """How the last rollout in production ended and what the judge said on the way."""
    why = home.explain(f"{service}/production")
    return why["state"], [one["verdict"] for one in why["ended"]["verdicts"]], why


def play(home, kind):
    started = time.monotonic()
    files, source, lock = SOURCES[kind]
    repository = Repository(home.folder / f"greeter-{kind}", files)
    if lock:
        subprocess.run(lock, cwd=repository.folder, check=True, timeout=120)
    repository.commit("A service")
    written = home.ok("--json", "init", "--yes", cwd=repository.folder).json()
    service = written["service"]
    port, changed = settle(repository)
    repository.commit("Ship with Humdrum")
    home.ok("plan", cwd=repository.folder)

    home.ok("ship", "--timeout", "120s", cwd=repository.folder)
    first = time.monotonic() - started
    with load(port) as traffic:
        repository.replace(source, "hello from one", "hello from two")
        repository.commit("Greet from two")
        home.ok("ship", "--timeout", "100s", cwd=repository.folder)
        state, judged, _ = verdicts(home, service)
        expect(state == "promoted", f"{service}: {state}")
        expect(len(judged) == 2 and set(judged) == {"PASS"}, f"{service}: the canary was judged {judged}")
        second = time.monotonic() - started - first
        if kind in BROKEN:
            bad(home, repository, service, source, BROKEN[kind])
    expect(traffic.lost == 0, f"{service}: {traffic.lost} of {traffic.sent} requests were lost, the last by {traffic.last_problem}")
    took = time.monotonic() - started
    say(f"{kind}: {took:.0f} s in all; first release after {first:.0f} s, canary {second:.0f} s, {changed} manifest lines changed, {traffic.sent} requests, 0 lost")


def bad(home, repository, service, source, change):
    repository.replace(source, *change)
    repository.commit("Make it faster")
    answer = home.exits(1, "ship", "--timeout", "100s", cwd=repository.folder)
    state, judged, why = verdicts(home, service)
    expect(state == "rolled_back" and "FAIL" in judged, f"{service}: {state} {judged}\n{answer.text}")
    expect(why["ended"]["weight_max"] < 10_000, "a bad release had all of the traffic")
    expect("measured at the edge in the last" in answer.text, f"the forecast does not rest on the traffic there is:\n{answer.text}")
    say(f"{service}: the bad release went back: {why['sentences'][0]}")


def all_of_it():
    with installation() as home:
        home.up()
        for kind in SOURCES:
            play(home, kind)


story(all_of_it)
