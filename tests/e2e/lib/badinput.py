"""Bad input and a bad machine: each has its exit code and message, and nothing that was accepted is lost."""

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import urllib.request
from pathlib import Path

from ports import free_ports
from projects import Home, Repository, expect, installation, say, story, until

BROKEN = Path(__file__).resolve().parents[3] / "crates" / "model" / "tests" / "manifests" / "broken"

APP = '''import http.server, os

class Answer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello from one")

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()
'''

MANIFEST = """service: SERVICE
owner: ada
build:
  files: { /app/app.py: app.py }
  runtime: [python3]
run:
  command: [python3, -u, /app/app.py]
  port: PORT
  health: { path: /healthz, interval: 200ms, healthy_after: 1, start: 6s }
  instances: 1
environments:
  production: { rollout: { all_at_once: {} } }
"""


def project(home, service, port=None, **files):
    manifest = MANIFEST.replace("SERVICE", service).replace("PORT", str(port or free_ports(1)[0]))
    repository = Repository(home.folder / service, {"app.py": APP, "humdrum.yaml": manifest} | files)
    repository.commit("A service")
    return repository


def get(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return answer.read().decode()


def ships(home):
    """Outcome by id of everything that was ever accepted, as control's store has it."""
    address, secret = (home.data / "address").read_text().strip(), (home.data / "token").read_text().strip()
    request = urllib.request.Request(f"http://{address}/api/v1/ships", headers={"authorization": f"Bearer {secret}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return {ship["id"]: ship["outcome"] for ship in json.load(answer)}


def serves(home, service):
    """It is promoted and answers."""
    for placement in home.status()["placements"]:
        if placement["service"] == service:
            return get(int(placement["address"].rsplit(":", 1)[1])) == "hello from one"
    return False


# --- what people type -------------------------------------------------------------------------------------------------------


def without_control(home):
    home.fails(6, "not-running", "status", has=["humdrum up"])
    repository = project(home, "early")
    home.fails(6, "not-running", "ship", cwd=repository.folder)


def arguments(home):
    home.exits(2, "ship", "--no-such-flag")
    home.exits(2, "no-such-command")
    home.fails(2, "subject", "hold", "everything", "--why", "because")
    home.fails(2, "unknown", "explain", "no-such-service", has=["humdrum status"])
    home.fails(2, "folder", "init", "/no/such/folder")


def repositories(home):
    repository = project(home, "typed")
    home.fails(2, "unknown-ref", "ship", "v9", cwd=repository.folder, has=["`v9`", "git log"])
    plain = home.folder / "plain"
    plain.mkdir()
    home.fails(2, "not-a-repository", "ship", cwd=plain, has=["git init"])
    bare = Repository(home.folder / "bare", {"app.py": APP})
    bare.commit("No manifest")
    home.fails(2, "manifest-missing", "ship", cwd=bare.folder, has=["humdrum init"])
    bare.write({"humdrum.yaml": MANIFEST})
    home.fails(2, "manifest-missing", "ship", cwd=bare.folder, has=["git add humdrum.yaml"])
    home.fails(2, "manifest-exists", "init", cwd=bare.folder)
    expect((bare.folder / "humdrum.yaml").read_text() == MANIFEST, "init wrote over a manifest")
    repository.replace("humdrum.yaml", "health:", "helth:")
    repository.commit("A slip")
    home.fails(2, "manifest", "ship", cwd=repository.folder, has=["HUM-010", "humdrum.yaml:9:3", "did you mean `health`"])
    expect(home.status()["ships"] == [], "something was accepted")


def manifests(home):
    """Every broken manifest of the model's own tests is refused by the program, too, with place and code."""
    repository = project(home, "broken")
    # Some hold warnings alone, which stop nothing.
    names = sorted(path for path in BROKEN.glob("*.yaml") if "error[" in path.with_suffix(".out").read_text())
    expect(len(names) >= 20, f"only {len(names)} broken manifests")
    for path in names:
        repository.folder.joinpath("humdrum.yaml").write_bytes(path.read_bytes())
        answer = home.exits(2, "plan", cwd=repository.folder)
        expect("HUM-" in answer.err and "humdrum.yaml:" in answer.err, f"{path.name}: no code or place in:\n{answer.text}")
    return f"{len(names)} broken manifests"


def token(home):
    copy = home.folder / "copy"
    copy.mkdir(mode=0o700)
    shutil.copy(home.data / "address", copy)
    right = (home.data / "token").read_text().strip()
    for wrong in ("0" * len(right), right[:-1] + ("0" if right[-1] != "0" else "1"), "x"):
        (copy / "token").write_text(wrong)
        answer = Home(home.folder, data=copy).fails(3, "unauthenticated", "status")
        expect(right not in answer.text, "the token was printed")
    (copy / "address").write_text("somewhere else")
    Home(home.folder, data=copy).fails(1, "data-folder", "status", has=["somewhere else"])


# --- what commits hold ------------------------------------------------------------------------------------------------------


def missing_output(home):
    repository = project(home, "hollow")
    repository.replace("humdrum.yaml", "app.py: app.py }", "app.py: app.py, /app/missing: target/missing }")
    repository.commit("Name a file that nobody makes")
    answer = home.exits(1, "ship", "--timeout", "60s", cwd=repository.folder)
    expect("target/missing" in answer.out, f"the path is not named:\n{answer.text}")


def failing_tests(home):
    report = '<testsuite name="tea"><testcase classname="tea" name="is_hot"><failure message="it is cold"/></testcase></testsuite>'
    repository = project(home, "cold", **{"check.sh": f"cat > junit.xml <<'END'\n{report}\nEND\nexit 1\n"})
    repository.replace("humdrum.yaml", "run:\n  command", "test: { run: sh check.sh, junit: junit.xml }\nrun:\n  command")
    repository.commit("Tests")
    answer = home.exits(1, "ship", "--timeout", "60s", cwd=repository.folder)
    expect("is_hot" in answer.out, f"the case is not named:\n{answer.text}")
    expect(not any(one["service"] == "cold" and one["slots"][0]["release"] for one in home.status()["placements"]), "it was deployed")


def never_healthy(home):
    # It listens: the port of one that does not may be another program's, which would answer for it.
    repository = project(home, "sick", **{"app.py": APP.replace("self.send_response(200)", 'print("cannot reach the database"); self.send_response(503)')})
    answer = home.exits(1, "ship", "--timeout", "90s", cwd=repository.folder)
    expect("cannot reach the database" in answer.out, f"the last lines of the log are not there:\n{answer.text}")
    crashing = project(home, "crashing", **{"app.py": 'raise SystemExit("no configuration")\n'})
    answer = home.exits(1, "ship", "--timeout", "90s", cwd=crashing.folder)
    expect("no configuration" in answer.out, f"the last lines of the log are not there:\n{answer.text}")


def port_taken(home):
    port = free_ports(1)[0]
    with socket.create_server(("127.0.0.1", port)):
        repository = project(home, "late", port=port)
        answer = home.exits(1, "ship", "--timeout", "90s", cwd=repository.folder)
        why = " ".join(home.explain("late/production")["sentences"])
        expect(f"cannot listen on 127.0.0.1:{port}" in why, f"port {port} is not named: {why}\n{answer.text}")
    home.exits(1, "watch", "--timeout", "10s")
    # What went back is held; a person lifts that, and the same commit ships once the port is free.
    for hold in home.status()["holds"]:
        home.ok("unhold", f"release:{hold['subject']['release']}", "--why", "the port was the machine's fault")
    home.ok("ship", "--timeout", "60s", cwd=repository.folder)
    expect(serves(home, "late"), "it does not serve")


# --- what the machine does --------------------------------------------------------------------------------------------------


def second_up(home):
    home.fails(1, "already-up", "up", has=[str(home.data)], seconds=30)
    home.status()


def control_port_taken(home):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        second = Home(home.folder, data=home.folder / "second", listen=f"127.0.0.1:{port}")
        answer = second.run("up", "--detach", "--listen", second.listen, seconds=60)
        second.down()
    expect(answer.code == 1 and "port-taken" in answer.text and str(port) in answer.text, f"exit {answer.code}:\n{answer.text}")


def up_fails(home, has, untouched):
    """It does not start, says why, and leaves the file as it was."""
    before = untouched.read_bytes()
    answer = home.run("up", "--detach", seconds=60)
    home.down()
    expect(answer.code == 1, f"up: exit {answer.code}:\n{answer.text}")
    for word in [str(untouched), *has]:
        expect(word in answer.text, f"`{word}` is not in:\n{answer.text}")
    expect(untouched.read_bytes() == before, f"{untouched} was changed")


def database(home):
    """A damaged file and a newer one are refused as they are; the right one is taken up with everything that was in it."""
    home.ok("ship", "--timeout", "90s", cwd=project(home, "kept").folder)
    before = ships(home)
    home.ok("down")
    home.fails(6, "unreachable", "status", has=["humdrum up"])
    path = home.data / "control" / "humdrum.db"
    good = path.read_bytes()
    # The log of the last writes would mend a page behind the back of this test.
    with contextlib.closing(sqlite3.connect(path)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        good_folded = path.read_bytes()
        version = opened.execute("PRAGMA user_version").fetchone()[0]
    for name in ("humdrum.db-wal", "humdrum.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    expect(len(good_folded) >= len(good) // 2, "the database was not folded")
    for damaged in (b"no database at all" * 4096, good_folded[:4096] + os.urandom(len(good_folded) - 4096), good_folded[: len(good_folded) // 2]):
        path.write_bytes(damaged)
        up_fails(home, [], path)
        for name in ("humdrum.db-wal", "humdrum.db-shm"):
            path.with_name(name).unlink(missing_ok=True)
    path.write_bytes(good_folded)
    with contextlib.closing(sqlite3.connect(path)) as opened:
        opened.execute(f"PRAGMA user_version = {version + 1}")
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    up_fails(home, [f"schema {version + 1}"], path)
    path.write_bytes(good_folded)
    for name in ("humdrum.db-wal", "humdrum.db-shm"):
        path.with_name(name).unlink(missing_ok=True)
    home.up()
    after = ships(home)
    expect(len(before) > 0 and after == before, f"ships before {before}, after {after}")
    until(30, "the service runs again", lambda: quietly(lambda: serves(home, "kept")))


def quietly(look):
    try:
        return look()
    except OSError:
        return False


@contextlib.contextmanager
def small_disk(folder, mebibytes):
    folder.mkdir(mode=0o755)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=755", "humdrum-e2e", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=False)


def full_disk(home):
    """A full disk refuses or fails what is new and loses nothing that is old; with space again everything goes on."""
    if os.geteuid() != 0:
        return "left out: only root can mount a small disk"
    with small_disk(home.folder / "small", 400) as disk:
        small = Home(home.folder, data=disk / "data", listen=f"127.0.0.1:{free_ports(1)[0]}")
        try:
            small.up()
            repository = project(home, "tight")
            small.ok("ship", "--timeout", "90s", cwd=repository.folder)
            before = ships(small)
            filler = disk / "filler"
            fill(filler)
            repository.replace("app.py", "import http", "# again\nimport http")
            repository.commit("Again")
            answer = small.run("ship", "--timeout", "20s", cwd=repository.folder)
            expect(answer.code in (1, 6, 7), f"exit {answer.code}:\n{answer.text}")
            expect("full" in answer.text or "space" in answer.text or answer.code == 7, f"the disk is not named:\n{answer.text}")
            expect(serves(small, "tight"), "what ran was disturbed")
            accepted = ships(small)
            expect(before.items() <= accepted.items(), f"ships before {before}, after {accepted}")
            filler.unlink()
            small.ok("ship", "--timeout", "90s", cwd=repository.folder)
            after = until(60, "every accepted ship ends", lambda: all(ships(small).values()) and ships(small))
            expect(accepted.keys() <= after.keys(), f"accepted {accepted}, after {after}")
            expect(serves(small, "tight"), "it does not serve")
            said = answer.text.strip().splitlines()[0]
        finally:
            small.down()
    return f"exit {answer.code}, {said}"


def fill(path):
    """Writes until not one more byte goes in."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"\0" * size)


CASES_BEFORE_UP = [without_control, control_port_taken]
CASES = [arguments, repositories, manifests, token, missing_output, failing_tests, never_healthy, port_taken, second_up, database, full_disk]


def play():
    only = os.environ.get("CASES", "").split()
    with installation() as home:
        for case in CASES_BEFORE_UP:
            case(home)
            say(f"{case.__name__}: as documented")
        home.up()
        for case in CASES:
            if not only or case.__name__ in only:
                said = case(home)
                say(f"{case.__name__}: as documented" + (f" ({said})" if said else ""))


story(play)
