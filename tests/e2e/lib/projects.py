"""Real projects shipped by a real Humdrum: the installation, git repositories, bounded traffic, and what is asserted of commands.

Needs HUMDRUM, the path of the binary. Everything lives in one temporary folder and is stopped and removed at the end.
"""

import contextlib
import difflib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from ports import free_ports

# A command that takes longer hangs; the longest known one builds a project and judges two steps.
COMMAND_SECONDS = 150
# Traffic of one story ends by itself.
REQUESTS_MAX = 400_000
# Changed lines of a proposed manifest that a user may be asked for.
MANIFEST_LINES_MAX = 10


class Broken(Exception):
    """An expectation that was not met."""


def expect(condition, text):
    if not condition:
        raise Broken(text)


def say(text):
    print(text, flush=True)


class Answer:
    """What a command answered."""

    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.text = self.out + self.err

    def json(self):
        """The last line, which with `--json` is one object."""
        lines = [line for line in self.out.splitlines() if line.startswith("{")] or [
            line for line in self.err.splitlines() if line.startswith("{")
        ]
        expect(lines, f"no JSON in:\n{self.text}")
        return json.loads(lines[-1])


class Home:
    """One installation in a folder of its own."""

    def __init__(self, folder, data=None, listen=None):
        self.folder = Path(folder)
        self.data = Path(data or self.folder / "data")
        self.listen = listen or f"127.0.0.1:{free_ports(1)[0]}"
        self.binary = os.environ["HUMDRUM"]

    def run(self, *words, cwd=None, seconds=COMMAND_SECONDS, env=None):
        words = [self.binary, "--data", str(self.data), *map(str, words)]
        done = subprocess.run(
            words, cwd=cwd or self.folder, timeout=seconds, text=True, capture_output=True,
            stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}, check=False,
        )
        return Answer(done)

    def ok(self, *words, **more):
        return self.exits(0, *words, **more)

    def exits(self, code, *words, **more):
        answer = self.run(*words, **more)
        expect(answer.code == code, f"humdrum {' '.join(map(str, words))}: exit {answer.code}, not {code}:\n{answer.text}")
        return answer

    def exits_one_of(self, codes, *words, **more):
        answer = self.run(*words, **more)
        expect(answer.code in codes, f"humdrum {' '.join(map(str, words))}: exit {answer.code}, not one of {codes}:\n{answer.text}")
        return answer

    def fails(self, code, error, *words, has=(), **more):
        """It ends with this exit code, this error code and these words, and says what to do next."""
        answer = self.exits(code, *words, **more)
        expect(f"error[{error}]" in answer.err, f"humdrum {' '.join(map(str, words))}: no error[{error}] in:\n{answer.text}")
        for word in has:
            expect(word in answer.text, f"humdrum {' '.join(map(str, words))}: `{word}` is not in:\n{answer.text}")
        return answer

    def up(self, **more):
        return self.ok("up", "--detach", "--listen", self.listen, **more)

    def down(self):
        return self.run("down")

    def status(self):
        return self.ok("--json", "status").json()

    def explain(self, what="last"):
        return self.ok("--json", "explain", what).json()


@contextlib.contextmanager
def installation(**more):
    """A Humdrum that is stopped and removed at the end, whatever happens."""
    folder = Path(tempfile.mkdtemp(prefix="humdrum-e2e-"))
    # Instances run as users of their own and have to pass through.
    folder.chmod(0o755)
    home = Home(folder, **more)
    try:
        yield home
    finally:
        home.down()
        shutil.rmtree(folder, ignore_errors=True)


class Repository:
    """A git repository with a person's identity of its own."""

    def __init__(self, folder, files=()):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")
        self.write(dict(files))

    def git(self, *words):
        person = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", *person, *words], cwd=self.folder, text=True, capture_output=True, check=False)
        expect(done.returncode == 0, f"git {' '.join(words)}: {done.stderr}")
        return done.stdout.strip()

    def write(self, files):
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def replace(self, name, old, new):
        path = self.folder / name
        text = path.read_text()
        expect(old in text, f"{name} has no `{old}`")
        path.write_text(text.replace(old, new))

    def commit(self, message):
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")


def lines_changed(before, after):
    """Lines that a person changed: of each place the longer side counts."""
    matcher = difflib.SequenceMatcher(a=before.splitlines(), b=after.splitlines(), autojunk=False)
    parts = [part for part in matcher.get_opcodes() if part[0] != "equal"]
    return sum(max(a2 - a1, b2 - b1) for _, a1, a2, b1, b2 in parts)


class Load:
    """Steady traffic at one loopback port; every answer is counted. Stops by itself after a number of requests."""

    def __init__(self, port, rps=500, users=6):
        self.port, self.pause, self.stop = port, users / rps, threading.Event()
        self.sent = self.errors = self.lost = 0
        self.lock = threading.Lock()
        self.last_problem = ""
        self.threads = [threading.Thread(target=self.user, args=(i, users), daemon=True) for i in range(users)]
        for thread in self.threads:
            thread.start()

    def user(self, index, users):
        connection, due = None, time.monotonic() + self.pause * index / users
        while not self.stop.is_set() and self.sent < REQUESTS_MAX:
            self.stop.wait(max(0, due - time.monotonic()))
            due = max(due + self.pause, time.monotonic() - 1)
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                # What the edge says itself carries no body of the service.
                lost = answer.status in (502, 503, 504)
                problem = f"status {answer.status}" if lost else ""
                with self.lock:
                    self.sent += 1
                    self.errors += answer.status >= 500
                    self.lost += lost
                    self.last_problem = problem or self.last_problem
            except OSError as error:
                connection = None
                with self.lock:
                    self.sent, self.lost, self.last_problem = self.sent + 1, self.lost + 1, repr(error)
            except http.client.HTTPException as error:
                connection = None
                with self.lock:
                    self.sent, self.lost, self.last_problem = self.sent + 1, self.lost + 1, repr(error)

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join(timeout=15)
        return self


@contextlib.contextmanager
def load(port, **more):
    traffic = Load(port, **more)
    try:
        yield traffic
    finally:
        traffic.end()


def until(seconds, what, look):
    """Looks again and again until something true is seen, which is returned."""
    end, seen = time.monotonic() + seconds, None
    while time.monotonic() < end:
        seen = look()
        if seen:
            return seen
        time.sleep(0.1)
    raise Broken(f"not within {seconds} s: {what}")


def story(play):
    """Runs a story; what was not met is one line and an exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    started = time.monotonic()
    try:
        play()
    except Broken as broken:
        say(f"FAILED: {broken}")
        sys.exit(1)
    say(f"all of it took {time.monotonic() - started:.0f} s")
