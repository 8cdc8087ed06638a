"""What the stories share: an installation in a folder of its own, its API and databases, a small service to ship, load, and waiting with an end."""

import atexit
import json
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request

from ports import free_ports

ROOT = pathlib.Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "demo-shop"
HUMDRUM = os.environ["HUMDRUM"]


def fail(what):
    sys.exit(f"{pathlib.Path(sys.argv[0]).stem}: {what}")


def must(right, what):
    if not right:
        fail(what)


def until(what, seconds, probe, pause=0.02):
    """The first true answer of `probe`; ends the story when there is none in time."""
    end = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        if time.monotonic() > end:
            fail(f"{what}: not within {seconds} s")
        time.sleep(pause)


def lives(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (OSError, IndexError):
        return False


class World:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.data = self.folder / "data"
        self.api_port, *self.ports = free_ports(4)

    # -- commands and processes

    def humdrum(self, *arguments, env=None, at=None, check=True, timeout=120):
        command = [HUMDRUM, "--data", str(self.data), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=at or self.folder, env=os.environ | (env or {}))
        if check and done.returncode != 0:
            fail(f"`humdrum {' '.join(arguments)}` ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def up(self, env=None):
        return self.humdrum("up", "--detach", "--listen", f"127.0.0.1:{self.api_port}", env=env)

    def pid(self, role):
        text = (self.data / "run" / f"{role}.pid").read_text()
        return int(text) if role == "up" else json.loads(text)["pid"]

    def pids(self):
        return {role: self.pid(role) for role in ("agent", "edge", "control")}

    def kill(self, pid):
        """SIGKILL to a process of this installation, never to anybody else's: it or one of its parents names the folder."""
        line = [pid]
        while line[-1] > 1 and str(self.folder) not in pathlib.Path(f"/proc/{line[-1]}/cmdline").read_bytes().decode():
            line.append(int(pathlib.Path(f"/proc/{line[-1]}/stat").read_text().rsplit(")", 1)[1].split()[1]))
        must(line[-1] > 1, f"process {pid} is not ours")
        os.kill(pid, signal.SIGKILL)

    # -- what it says

    def api(self, path, timeout=5):
        request = urllib.request.Request(f"http://127.0.0.1:{self.api_port}{path}")
        request.add_header("authorization", f"Bearer {(self.data / 'token').read_text().strip()}")
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return json.load(answer)

    def maybe(self, path):
        """None while control is away."""
        try:
            return self.api(path)
        except (OSError, ValueError):
            return None

    def healthy(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.api_port}/healthz", timeout=0.5) as answer:
                return answer.status == 200
        except (OSError, ValueError):
            return False

    def socket_json(self, name, path):
        """A question to edge or agent on its own socket."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(5)
            stream.connect(str(self.data / "run" / f"{name}.sock"))
            stream.sendall(f"GET {path} HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: stream.recv(65536), b""))
        head, body = answer.split(b"\r\n\r\n", 1)
        if b"transfer-encoding: chunked" in head.lower():
            whole, rest = b"", body
            while rest:
                size, rest = rest.split(b"\r\n", 1)
                whole, rest = whole + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
            body = whole
        return json.loads(body)

    def rows(self, query, database="control/humdrum.db", values=()):
        with sqlite3.connect(f"file:{self.data / database}?mode=ro", uri=True, timeout=10) as connection:
            return connection.execute(query, values).fetchall()

    # -- the service

    def make_shop(self, environments, errors=10):
        """The example's repository; `environments` is the manifest's part of that name."""
        self.shop, self.errors = self.folder / "shop", errors
        (self.shop / "src").mkdir(parents=True)
        for name in ("Cargo.toml", "Cargo.lock"):
            (self.shop / name).write_text((EXAMPLE / f"{name}.txt").read_text())
        (self.shop / ".gitignore").write_text("/target\n")
        manifest = (EXAMPLE / "humdrum.yaml").read_text().split("environments:")[0]
        manifest = manifest.replace("port: 8080", f"port: {self.ports[2]}").replace("instances: 3", "instances: 2")
        (self.shop / "humdrum.yaml").write_text(manifest + "environments:\n" + environments)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments):
        done = subprocess.run(["git", "-C", str(self.shop), *arguments], capture_output=True, text=True)
        must(done.returncode == 0, f"git {' '.join(arguments)}: {done.stderr}")

    def commit(self, greeting, errors=None):
        main = (EXAMPLE / "src" / "main.rs").read_text()
        main = main.replace("hello from the first release", greeting)
        main = main.replace("ERRORS_PER_THOUSAND: u64 = 10", f"ERRORS_PER_THOUSAND: u64 = {self.errors if errors is None else errors}")
        (self.shop / "src" / "main.rs").write_text(main)
        self.git("add", "--all")
        self.git("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false", "commit", "--quiet", "--message", greeting)

    def ship(self):
        """Ships HEAD and does not wait; gives the id."""
        done = self.humdrum("ship", "--no-wait", "--json", at=self.shop)
        return json.loads(done.stdout.strip().splitlines()[-1])["id"]

    def shipped(self, seconds=90):
        """Ships HEAD, waits for its end and gives what became of it."""
        ship = self.ship()
        return until(f"ship {ship}", seconds, lambda: self.outcome(ship), 0.1)

    def outcome(self, ship):
        shown = self.maybe(f"/api/v1/ships/{ship}")
        return shown and shown.get("outcome")

    def placement(self, environment="production"):
        return self.maybe(f"/api/v1/placements/demo-shop/{environment}")

    def shares(self, environment="production"):
        """Weights of the slots as the edge splits them, or None."""
        placement = self.placement(environment)
        return placement and {slot["slot"]: slot["weight"] for slot in placement["slots"]}


class Load:
    """Load beside the story; `end` gives what became of it."""

    def __init__(self, port, rate, seconds_max=400):
        command = [sys.executable, str(pathlib.Path(__file__).with_name("load.py")), str(port), str(rate), str(seconds_max)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        atexit.register(self.process.kill)
        must(self.process.stdout.readline() == "ready\n", "the load did not start")

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=30)
        must(self.process.returncode == 0 and out, "the load ended badly")
        return json.loads(out)
