"""The story of 20-crash-points.sh."""

import http.client
import json
import os
import sys
import threading
import time

from world import Load, World, must, until

RESUMED = 2.0  # seconds from a kill until control answers again
FIRST_POINTS_MIN = 40
CANARY_POINTS_MIN = 40
RATE = 400
RATE_MIN = 200
RELEASE_SECONDS_MAX = 150

world = World(sys.argv[1])
world.make_shop(
    f"""  staging: {{ port: {world.ports[1]}, instances: 1 }}
  production:
    after: staging
    rollout:
      canary: {{ steps: [10, 50, 100], rule_out: [50, 20], block: 200ms, warmup: 0s, soak: 400ms, deadline: 120s, metrics: [errors] }}
""",
    errors=50,
)


class Watch(threading.Thread):
    """Sees each kill by the growing ledger, and when control answers again."""

    def __init__(self, ledger):
        super().__init__(daemon=True)
        self.ledger, self.times, self.over = ledger, [], False
        self.start()

    def run(self):
        size, killed = 0, None
        while not self.over:
            grown = self.ledger.stat().st_size if self.ledger.exists() else 0
            now = time.monotonic()
            if grown > size:
                # A further point was reached: control was back, even when nobody had asked it yet.
                if killed:
                    self.times.append(now - killed)
                size, killed = grown, now
            elif killed and now - killed > 0.01 and world.healthy():
                self.times.append(time.monotonic() - killed)
                killed = None
            time.sleep(0.002)


class Generations(threading.Thread):
    """Reads the edge's tables and the agent's units all the time: their numbers only rise."""

    def __init__(self):
        super().__init__(daemon=True)
        self.seen, self.fallen, self.reads, self.over = {}, [], 0, False
        self.start()

    def run(self):
        while not self.over:
            for role, path in (("edge", "/routes"), ("agent", "/units")):
                try:
                    self.look(role, world.socket_json(role, path))
                except (OSError, ValueError):
                    pass
            time.sleep(0.02)

    def look(self, role, units):
        self.reads += 1
        for unit in units["units"] if role == "agent" else units:
            key, now = (role, unit["unit" if role == "agent" else "route"]), (unit["fence"], unit["generation"])
            if now < self.seen.get(key, now):
                self.fallen.append((key, self.seen[key], now))
            self.seen[key] = now


def finished():
    """Every effect that has a result, with the time of that result."""
    return dict(world.rows("SELECT key, finished_ms FROM effect WHERE status <> 'intended'"))


def crash_at_every_point(ledger):
    """The supervisor is replaced by one that adopts all roles; the control that it starts after the next end crashes at every point.

    A control that crashed while `up` still waits for all roles to answer would count as one that cannot start.
    """
    roles, log = world.pids(), world.data / "logs" / "up.log"
    starts = log.read_text().count("Humdrum is up")
    world.kill(world.pid("up"))
    world.up(env={"HUMDRUM_CRASH_LEDGER": str(ledger)})
    until("the new supervisor supervises", 20, lambda: log.read_text().count("Humdrum is up") > starts)
    must(world.pids() == roles, "a role was not adopted")
    world.kill(roles["control"])


def shipped():
    """The command itself may meet a control that was just killed: what was not accepted is sent again, what was accepted is not doubled."""
    done = world.humdrum("ship", "--no-wait", "--json", at=world.shop, check=False)
    return done.returncode == 0 and json.loads(done.stdout.strip().splitlines()[-1])["id"]


def served():
    """Whether production answers by the service. Until then nobody else may answer for it but the edge, that says so itself."""
    try:
        connection = http.client.HTTPConnection("127.0.0.1", world.ports[2], timeout=5)
        connection.request("GET", "/cart")
        answer = connection.getresponse()
        answer.read()
        must(answer.status == 200 or answer.getheader("x-humdrum-edge"), f"before the first release {answer.status} without a word of the edge")
        return answer.status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def crashing_release(name, greeting, points_min, load=None):
    """Ships a release while control is killed at every point; gives the load, which starts with the service's first answer, and a figure."""
    started, ledger, roles = time.monotonic(), world.folder / f"ledger-{name}", world.pids()
    watch = Watch(ledger)
    crash_at_every_point(ledger)
    world.commit(greeting)
    before, repeated, ship, outcome = finished(), [], None, None
    end = time.monotonic() + RELEASE_SECONDS_MAX
    while outcome is None and time.monotonic() < end:
        ship = ship or shipped()
        if load is None and served():
            load = Load(world.ports[2], RATE)
        now = finished()
        repeated += [key for key, at in before.items() if now.get(key) != at]
        before = now
        outcome = world.outcome(ship) if ship else None
        time.sleep(0.05)
    # The last point may lie behind the outcome: what is left to be done is done before the next release.
    until(f"{name}: every effect has its end", 30, lambda: not unfinished() and world.healthy())
    watch.over = True
    watch.join(5)
    points, times = ledger.read_text().splitlines(), sorted(watch.times)
    must(outcome == "promoted", f"{name}: {outcome} after {len(points)} kills: {ship and world.maybe(f'/api/v1/ships/{ship}')}")
    must(not repeated, f"{name}: finished effects were done again: {repeated}")
    must(len(points) == len(set(points)) and len(points) >= points_min, f"{name}: {len(points)} points, {points_min} expected:\n" + "\n".join(points))
    # Two threads may reach a point each before the signal arrives, so there are a few kills less than points.
    must(len(times) >= len(points) * 0.8, f"{name}: {len(points)} points but only {len(times)} resumes seen")
    must(times[-1] <= RESUMED, f"{name}: slowest resume {times[-1]:.2f} s of {[round(time, 2) for time in times]}")
    now = world.pids()
    must(now["edge"] == roles["edge"] and now["agent"] == roles["agent"], f"{name}: edge or agent was replaced")
    if os.environ.get("POINTS"):
        print("\n".join(points))
    took = time.monotonic() - started
    return load, points, f"{name}: {len(points)} points met in {len(times)} kills, resume median {times[len(times) // 2]:.2f} s, slowest {times[-1]:.2f} s, {took:.0f} s"


def unfinished():
    return world.rows("SELECT key, status FROM effect WHERE status NOT IN ('done', 'superseded')")


def whole_chain():
    count, last = world.rows("SELECT count(*), max(pos) FROM feed")[0]
    must(count == last, f"the feed has gaps: {count} rows, the last is {last}")
    hashes = world.rows("SELECT prev_hash, hash FROM feed ORDER BY pos")
    must(all(now[0] == last[1] for last, now in zip(hashes, hashes[1:])), "the chain is broken")
    return count


started = time.monotonic()
world.up()
generations = Generations()
load, first_points, first = crashing_release("first release", "hello from the first release", FIRST_POINTS_MIN)
must(load, "the first release was promoted and never answered")
time.sleep(2)  # The judge is to know the baseline.
load, points, canary = crashing_release("canary", "good day from the second release", CANARY_POINTS_MIN, load)
generations.over = True
generations.join(5)
answers = load.end()
must(answers["lost"] == 0, f"{answers['lost']} of {answers['sent']} requests lost: {answers['lost_first']}")
must(answers["rate"] >= RATE_MIN, f"only {answers['rate']} requests/s")
must(not generations.fallen and generations.reads > 50, f"numbers fell: {generations.fallen}, {generations.reads} reads")
slots = world.placement()["slots"]
must(sorted(slot["weight"] for slot in slots) == [0, 10000], f"weights at the end: {slots}")
only_first = len(set(first_points) - set(points))
print(
    f"crash points: {first} ({only_first} of them only there); {canary}; from the service's first answer on {answers['sent']} requests at "
    f"{answers['rate']:.0f}/s, {answers['lost']} lost; {len(finished())} effects, none repeated; {whole_chain()} events chained; {time.monotonic() - started:.0f} s"
)
