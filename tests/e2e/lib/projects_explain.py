"""`humdrum explain` answers with cause, number and next command, whatever the release waits for or ended by."""

import re
from pathlib import Path

from ports import free_ports
from projects import Broken, Repository, expect, installation, load, say, story, until

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "demo-shop"
SERVICE = "demo-shop"
# One environment and two judged steps; the step lasts long enough for its soak to be seen.
ENVIRONMENTS = """environments:
  production:
    rollout: { canary: { steps: [20, 100], rule_out: [5], block: 200ms, warmup: 0s, soak: 5s, deadline: 120s, metrics: [errors] } }
"""
# A place to wait in: what was built is altered while the first environment soaks, before the second one's gates look at it.
TWO_ENVIRONMENTS = ENVIRONMENTS.replace("  production:\n", "  staging: { port: STAGING, instances: 1, soak: 5s }\n  production:\n    after: staging\n")


def project(home, port):
    manifest = (EXAMPLE / "humdrum.yaml").read_text().split("environments:")[0]
    manifest = manifest.replace("port: 8080", f"port: {port}").replace("instances: 3", "instances: 2")
    files = {name: (EXAMPLE / f"{name}.txt").read_text() for name in ("Cargo.toml", "Cargo.lock")}
    # No second build for the tests: what they say is told by other stories.
    manifest = "\n".join(line for line in manifest.splitlines() if not line.startswith("test:")) + "\n"
    files |= {"humdrum.yaml": manifest + ENVIRONMENTS, "src/main.rs": (EXAMPLE / "src/main.rs").read_text(), ".gitignore": "/target\n"}
    return Repository(home.folder / SERVICE, files)


def change(repository, greeting, errors=10):
    """A commit that greets and fails so."""
    path = repository.folder / "src/main.rs"
    text = re.sub(r'GREETING: &str = ".*"', f'GREETING: &str = "{greeting}"', path.read_text())
    path.write_text(re.sub(r"ERRORS_PER_THOUSAND: u64 = \d+", f"ERRORS_PER_THOUSAND: u64 = {errors}", text))
    return repository.commit(greeting)


def ship(home, repository, code=0, reference="HEAD", wait=True):
    more = ["--timeout", "120s"] if wait else ["--no-wait"]
    return home.exits(code, "--json", "ship", reference, *more, cwd=repository.folder).json()


def answers(home, kind, why, state, cause):
    """Cause, number and next command, in the object and in the text that people read."""
    text = " ".join(why["sentences"])
    expect(why["state"] == state, f"{kind}: the state is {why['state']}, not {state}: {text}")
    expect(re.search(cause, text), f"{kind}: no cause like `{cause}` in: {text}")
    # Ids and hashes have digits, too; a number stands alone.
    expect(re.search(r"(?<![\w-])\d+(\.\d+)?( %| of | ms| s| requests| h| m|:|\b)(?!-)", re.sub(r"\S*[0-9a-f]{10,}\S*", "", text)), f"{kind}: no number in: {text}")
    expect((why["next"] or "").startswith("humdrum "), f"{kind}: the next command is {why['next']}")
    say(f"{kind}: {text} -> {why['next']}")
    # A command that only shows something can be tried: it must be valid to paste.
    words = why["next"].split()[1:]
    if words[0] in ("explain", "log", "status"):
        home.ok(*words)
    if words[0] == "watch":
        home.exits_one_of({0, 1, 3, 5, 7}, *words, "--timeout", "1s")


def waiting(home, kind, state, cause):
    def look():
        why = home.explain()
        return why if why["state"] == state else None

    answers(home, kind, until(60, f"{kind}: {state}, but {home.explain()}", look), state, cause)


def play():
    with installation() as home:
        home.up()
        staging, port = free_ports(2)
        repository = project(home, port)
        first = change(repository, "hello from one")
        ship(home, repository)

        change(repository, "hello from two")
        second = ship(home, repository, wait=False)
        waiting(home, "traffic", "waiting_for_traffic", r"0 requests reached it")

        change(repository, "hello from three")
        ship(home, repository, wait=False)
        superseded(home, second)
        with load(port, rps=700) as traffic:
            waiting(home, "soak", "waiting_for_soak", r"soak")
            home.ok("watch", "--timeout", "90s", cwd=repository.folder)
            bad(home, repository)
        expect(traffic.lost == 0, f"{traffic.lost} of {traffic.sent} requests were lost, the last by {traffic.last_problem}")
        held(home, repository, first)
        refused(home, repository, staging)


def superseded(home, older):
    def ended():
        why = home.explain(older["id"])
        return why if why["state"] == "superseded" else None

    answers(home, "superseded", until(60, "superseded", ended), "superseded", r"newer release")


def bad(home, repository):
    change(repository, "hello from four", errors=300)
    ship(home, repository, code=1)
    why = home.explain()
    answers(home, "rolled back", why, "rolled_back", r"error|fail")
    expect(why["ended"]["weight_max"] == 2_000, f"it had {why['ended']['weight_max']} of 10000")
    # What was rolled back is held: the same commit does not come in again.
    ship(home, repository, code=3)
    answers(home, "held by rollback", home.explain(), "held", r"held|hold")


def held(home, repository, first):
    """A person holds the first release, and somebody ships it again."""
    history = [one for placement in home.status()["placements"] for one in placement["history"]]
    release = next(one["release"]["release"] for one in history if one["release"]["commit"] == first)
    home.ok("hold", f"release:{release}", "--why", "it leaks memory")
    ship(home, repository, code=3, reference=first)
    answers(home, "held by a person", home.explain(), "held", r"it leaks memory")
    home.ok("unhold", f"release:{release}")


def refused(home, repository, staging):
    path = repository.folder / "humdrum.yaml"
    manifest = path.read_text().split("environments:")[0]
    path.write_text(manifest + TWO_ENVIRONMENTS.replace("STAGING", str(staging)))
    change(repository, "hello from five")
    before = bundles(home)
    shipped = ship(home, repository, wait=False)
    until(90, "staging soaks", lambda: home.explain(shipped["id"])["state"] == "deploying")
    new = bundles(home) - before
    expect(len(new) >= 3, f"evidence of the new build: {new}")
    for bundle in new:
        tamper(bundle)
    answer = home.exits(3, "watch", shipped["id"], "--timeout", "90s")
    why = home.explain()
    answers(home, "refused by gate", why, "refused", r"gate|signature|refused")
    gates = [gate["gate"] for gate in why["ended"]["gates"] if not gate["passed"]]
    expect("signature" in gates, f"gates that refused: {gates}; {answer.text}")


def bundles(home):
    """Signed statements in the registry's folder."""
    found = set()
    for path in (home.data / "registry").rglob("*"):
        if path.is_file() and path.stat().st_size < 1_000_000 and b"sigstore.bundle" in path.read_bytes()[:400] and b"dsseEnvelope" in path.read_bytes():
            found.add(path)
    return found


def tamper(path):
    """Another statement under the old signature: the last character of the payload's text changes."""
    text = path.read_bytes()
    place = text.index(b'"payload":"') + 40
    path.chmod(0o644)
    path.write_bytes(text[:place] + (b"A" if text[place : place + 1] != b"A" else b"B") + text[place + 1 :])


story(play)
