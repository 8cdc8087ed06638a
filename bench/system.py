#!/usr/bin/env python3
"""Measures the whole installation with the released binary and prints Markdown: cold start, memory, verdict → 0 %, the demo.

Everything runs in temporary data folders on loopback and is stopped at the end. What is measured, and how:

* Cold start: from the start of `humdrum up --detach` until control, edge and agent have each answered `GET /healthz`, asked from
  outside every 2 ms. The program itself is in the page cache.
* Memory: `/proc/PID/smaps_rollup` of every process of the installation after it was idle. RSS counts shared pages in every process
  (the roles are one program, so its code is counted four times); PSS divides them.
* Verdict → 0 %: a service of two instances, a release that always fails, a short ladder and 200 ms blocks; again and again. Humdrum's own figure
  is `zero_at − verdict.at` of the history. The load's own figure is when it sent the last request that the bad release answered.

    HUMDRUM=target/release/humdrum bench/system.sh [--starts 9] [--idle 10] [--rollbacks 100] [--demos 1]

Needs git and rustc (for the service, `examples/demo-shop`); standard library only.
"""
import argparse, asyncio, datetime, json, math, os, pathlib, re, shutil, socket, statistics, subprocess, sys, tempfile, threading, time, urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
HUMDRUM = os.path.abspath(os.environ.get("HUMDRUM", ROOT / "target/release/humdrum"))
ROLES = ("control", "edge", "agent", "up")
RATE, USERS = 400, 16  # requests a second: enough for a verdict after a few blocks, little enough to leave the cores idle
CANARY = "{ steps: [10, 100], rule_out: [20], block: 200ms, warmup: 0s, soak: 400ms, deadline: 60s, metrics: [errors] }"


def say(text):
    print(text, file=sys.stderr, flush=True)


def spread(values, digits=0):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def rank(values, share):
    """Nearest rank: a value that was really measured."""
    return sorted(values)[math.ceil(share * len(values)) - 1]


def until(what, seconds, probe, pause=0.1):
    end = time.monotonic() + seconds
    while not (answer := probe()):
        if time.monotonic() > end:
            sys.exit(f"{what}: not within {seconds} s")
        time.sleep(pause)
    return answer


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def healthy(address):
    try:
        with socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX) as stream:
            stream.settimeout(1)
            stream.connect(address)
            stream.sendall(b"GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            return stream.recv(64).split(b"\r\n")[0].endswith(b" 200 OK")
    except OSError:
        return False


class Installation:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        os.chmod(folder, 0o755)  # Instances run as users of their own and have to pass through.
        self.data = self.folder / "data"
        self.api_port, self.port = free_ports(2)

    def command(self, *arguments, at=None):
        done = subprocess.run([HUMDRUM, "--data", str(self.data), *arguments], capture_output=True, text=True, timeout=180, cwd=at or self.folder)
        if done.returncode != 0:
            sys.exit(f"humdrum {' '.join(arguments)} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def up(self):
        """Milliseconds until every role answered, and until the command returned."""
        begin = time.monotonic()
        process = subprocess.Popen(
            [HUMDRUM, "--data", str(self.data), "up", "--detach", "--listen", f"127.0.0.1:{self.api_port}"], stdout=subprocess.DEVNULL
        )
        for address in (str(self.data / "run/agent.sock"), str(self.data / "run/edge.sock"), ("127.0.0.1", self.api_port)):
            until("a role answers", 30, lambda: healthy(address), 0.002)
        answered = time.monotonic() - begin
        if process.wait(30) != 0:
            sys.exit(f"`humdrum up --detach` ended with {process.returncode}")
        return answered * 1000, (time.monotonic() - begin) * 1000

    def down(self):
        if self.data.exists():
            self.command("down")

    def api(self, path):
        request = urllib.request.Request(f"http://127.0.0.1:{self.api_port}{path}")
        request.add_header("authorization", f"Bearer {(self.data / 'token').read_text().strip()}")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def processes(self):
        """Pid → (group, RSS, PSS in MiB) of everything that belongs to this installation."""
        roles = {}
        for role in ROLES:
            text = (self.data / f"run/{role}.pid").read_text()
            roles[int(text) if role == "up" else json.loads(text)["pid"]] = role
        parents, ours = {}, set(roles)
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                parents[int(entry)] = int(pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
                # Shims outlive the agent, so they need not be its children; they name a file of the data folder.
                if str(self.data) in pathlib.Path(f"/proc/{entry}/cmdline").read_text():
                    ours.add(int(entry))
            except OSError:
                pass
        while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
            ours |= more
        return {pid: (roles.get(pid) or self.group(pid), *memory(pid)) for pid in sorted(ours)}

    def group(self, pid):
        word = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:2]
        return {b"__shim": "shims", b"__jail": "jails"}.get(b"".join(word), "the service itself")


def memory(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return [int(re.search(rf"^{key}:\s+(\d+) kB", text, re.M)[1]) / 1024 for key in ("Rss", "Pss")]


class Shop:
    """A repository whose releases are either right or always wrong. The binaries are compiled once: only the rollout is measured."""

    def __init__(self, place, instances):
        self.place, self.folder, self.rounds = place, place.folder / "shop", 0
        self.folder.mkdir()
        source = (ROOT / "examples/demo-shop/src/main.rs").read_text()
        for name, errors in (("good", 0), ("bad", 1000)):
            path = place.folder / f"{name}.rs"
            path.write_text(re.sub(r"ERRORS_PER_THOUSAND: u64 = \d+", f"ERRORS_PER_THOUSAND: u64 = {errors}", source))
            subprocess.run(["rustc", "--edition", "2024", "-O", "-C", "strip=symbols", "-o", place.folder / name, path], check=True)
        self.manifest = f"""service: bench-shop
owner: bench
build: {{ files: {{ /app/shop: shop }} }}
run:
  command: [/app/shop]
  port: {place.port}
  health: {{ path: /healthz, interval: 200ms, healthy_after: 1 }}
  instances: {instances}
  env: {{ ROUND: "%d" }}
environments:
  production:
    rollout: {{ canary: {CANARY}, on_regression: rollback }}
"""
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments):
        subprocess.run(["git", "-C", self.folder, "-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false", *arguments], check=True)

    def ship(self, binary):
        """Ships a new release and gives its entry in the history. A release that was rolled back is held, so each is a different one."""
        self.rounds += 1
        shutil.copy(self.place.folder / binary, self.folder / "shop")
        (self.folder / "humdrum.yaml").write_text(self.manifest % self.rounds)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"Round {self.rounds}: {binary}")
        ship = json.loads(self.place.command("ship", "--no-wait", "--json", at=self.folder).strip().splitlines()[-1])["id"]
        outcome = until(f"ship {ship}", 120, lambda: self.place.api(f"/api/v1/ships/{ship}").get("outcome"))
        history = self.place.api("/api/v1/placements/bench-shop/production")["history"]
        ended = next((ended for ended in history if ended["ship"] == ship), None)
        if outcome != ("promoted" if binary == "good" else "rolled_back") or not ended:
            sys.exit(f"ship {ship} of a {binary} release: {outcome}\n{ended}")
        return ended


class Load(threading.Thread):
    """Steady load; remembers when it sent the last request that failed, which only the bad release does."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.over = port, False
        self.sent = self.lost = 0
        self.last_bad = None

    def run(self):
        asyncio.run(self.users())

    async def users(self):
        await asyncio.gather(*(self.user(USERS / RATE * number / USERS) for number in range(USERS)))

    async def user(self, offset):
        await asyncio.sleep(offset)
        connection, due = None, time.monotonic()
        while not self.over:
            self.sent += 1
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", self.port)
                asked = time.time()
                head = await asyncio.wait_for(ask(*connection), 10)
                if b"x-humdrum-edge" in head:
                    self.lost += 1
                elif b" 500 " in head.split(b"\r\n")[0]:
                    self.last_bad = max(asked, self.last_bad or 0)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
                self.lost += 1
                connection = None
            due = max(due + USERS / RATE, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    def end(self):
        self.over = True
        self.join(15)


async def ask(reader, writer):
    writer.write(b"GET / HTTP/1.1\r\nhost: shop.localhost\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(re.search(rb"content-length: *(\d+)", head)[1]))
    return head


def seconds(text):
    whole, fraction = re.fullmatch(r"([^.]+?)(\.\d+)?Z", text).groups()
    return datetime.datetime.fromisoformat(whole + "+00:00").timestamp() + float(fraction or 0)


def cold_starts(folder, count):
    seen = {"empty data folder": [], "existing data folder": []}
    for number in range(count):
        place = Installation(tempfile.mkdtemp(dir=folder))
        for kind in seen:
            try:
                seen[kind].append(place.up())
                say(f"start {number + 1}, {kind}: {seen[kind][-1][0]:.0f} ms")
            finally:
                place.down()
    print(f"\n### Cold start\n\n| | all roles answer, ms: median (min–max) | `humdrum up --detach` returns, ms |\n|---|---|---|")
    for kind, rows in seen.items():
        answered, returned = zip(*rows)
        print(f"| {kind} | {spread(answered)} | {spread(returned)} |")
    print(f"\n{count} starts each, in turns. Target: 300 ms.")


def memory_rows(title, place):
    groups = {}
    for group, rss, pss in place.processes().values():
        groups.setdefault(group, []).append((rss, pss))
    total = lambda names, index: sum(row[index] for name in names for row in groups.get(name, []))
    rows = [("**all roles**", ROLES)] + [(name, [name]) for name in (*ROLES, *(name for name in groups if name not in ROLES))]
    for name, names in rows:
        count = sum(len(groups.get(one, [])) for one in names)
        print(f"| {title} | {name} | {count} | {total(names, 0):.1f} | {total(names, 1):.1f} |")
    say(f"memory, {title}: {total(ROLES, 0):.1f} MiB RSS, {total(ROLES, 1):.1f} MiB PSS")


def memories(folder, idle):
    place = Installation(tempfile.mkdtemp(dir=folder))
    print("\n### Memory\n\n| | processes | number | RSS MiB | PSS MiB |\n|---|---|---|---|---|")
    try:
        place.up()
        time.sleep(idle)
        memory_rows("nothing deployed", place)
        Shop(place, 3).ship("good")
        time.sleep(idle)
        memory_rows("one service, 3 instances", place)
    finally:
        place.down()
    print(f"\nAfter {idle} s without work. Target: 80 MB RSS for all roles.")


def rollbacks(folder, count):
    place = Installation(tempfile.mkdtemp(dir=folder))
    load, own, felt, verdicts, shares = Load(place.port), [], [], [], []
    try:
        place.up()
        shop = Shop(place, 2)
        shop.ship("good")
        load.start()
        time.sleep(2)  # The judge is to know the baseline.
        for number in range(count):
            load.last_bad = None
            ended = shop.ship("bad")
            at = seconds(ended["verdicts"][-1]["at"])
            own.append((seconds(ended["zero_at"]) - at) * 1000)
            verdicts.append(at - seconds(ended["started"]))
            shares.append(ended["weight_max"] / 100)
            felt.append((load.last_bad - at) * 1000)
            say(f"rollback {number + 1}: {own[-1]:.0f} ms, last bad request sent {felt[-1]:+.0f} ms from the verdict")
    finally:
        load.end()
        place.down()
    print("\n### Verdict → 0 % at the edge\n\n| ms after the verdict | p50 | p99 | max |\n|---|---|---|---|")
    for name, values in (("the edge confirmed weight 0 (`zero_at − verdict.at`)", own), ("the last request of a caller that the bad release answered", felt)):
        print(f"| {name} | {rank(values, 0.5):.0f} | {rank(values, 0.99):.0f} | {max(values):.0f} |")
    print(f"\n{count} automatic rollbacks at {RATE} requests/s, {load.sent} requests, {load.lost} lost; share at most {max(shares):g} %, verdict {spread(verdicts, 1)} s "
          f"after the start of the rollout. p99 is the nearest rank{': of fewer than 100 values the largest' if count < 100 else ''}. Target: p99 100 ms.")


def demos(folder, count):
    own, wall = [], []
    env = {key: value for key, value in os.environ.items() if key not in ("HUMDRUM_DATA", "XDG_DATA_HOME")} | {"TMPDIR": str(folder)}
    for _ in range(count):
        begin = time.monotonic()
        done = subprocess.run([HUMDRUM, "demo", "--json"], capture_output=True, text=True, timeout=320, env=env)
        wall.append(time.monotonic() - begin)
        if done.returncode != 0:
            sys.exit(f"humdrum demo ended with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        summary = json.loads(done.stdout.strip().splitlines()[-1])
        own.append((summary["seconds"], summary["releases"][-1]["seconds_to_verdict"], summary["releases"][-1]["seconds_verdict_to_zero"] * 1000))
        say(f"demo: {wall[-1]:.1f} s")
        requests = summary["requests"]
    story, verdict, zero = zip(*own)
    print("\n### The demo\n\n| s, whole command | s, the story | s until the bad release's verdict | ms, verdict → 0 % | requests | lost |\n|---|---|---|---|---|---|")
    print(f"| {spread(wall, 1)} | {spread(story, 1)} | {spread(verdict, 1)} | {spread(zero)} | {requests['sent']} | {requests['lost']} |")
    print(f"\n{count} run(s). Target: 120 s.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=9)
    parser.add_argument("--idle", type=int, default=10, help="seconds without work before memory is read")
    parser.add_argument("--rollbacks", type=int, default=100)
    parser.add_argument("--demos", type=int, default=1)
    args = parser.parse_args()
    if not os.access(HUMDRUM, os.X_OK):
        sys.exit(f"{HUMDRUM} is missing: cargo build --release -p humdrum-cli, or set HUMDRUM")
    busy = lambda: f"{os.getloadavg()[0]:.1f}"
    print(f"{os.cpu_count()} cores, Linux {os.uname().release.split('-')[0]}; load average {busy()} at the start.", flush=True)
    with tempfile.TemporaryDirectory(prefix="hd-bench-") as folder:
        os.chmod(folder, 0o755)
        for measure, count in ((cold_starts, args.starts), (memories, args.idle), (rollbacks, args.rollbacks), (demos, args.demos)):
            if count:
                measure(folder, count)
                sys.stdout.flush()
    print(f"\nLoad average at the end: {busy()}.")


main()
