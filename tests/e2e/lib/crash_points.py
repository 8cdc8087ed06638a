"""The story of 20-crash-points.sh."""

import json
import os
import sys
import threading
import time

from world import Load, World, must, until

RESUMED = 2.0  # seconds from a kill until control answers again
POINTS_MIN = 40
RATE = 400

world = World(sys.argv[1])
ledger = world.folder / "ledger"
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

    def __init__(self):
        super().__init__(daemon=True)
        self.times, self.over = [], False

    def run(self):
        size, killed = 0, None
        while not self.over:
            grown = ledger.stat().st_size if ledger.exists() else 0
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


started = time.monotonic()
world.up()
world.commit("hello from the first release")
must(world.shipped() == "promoted", "the first release was not promoted")

# The supervisor is replaced by one that adopts all roles; the control that it starts after the next end crashes at every point.
roles = world.pids()
world.kill(world.pid("up"))
world.up(env={"HUMDRUM_CRASH_LEDGER": str(ledger)})
must(world.pids() == roles, "a role was not adopted")
load = Load(world.ports[2], RATE)
time.sleep(2)  # The judge is to know the baseline.
watch, generations = Watch(), Generations()
watch.start()
generations.start()
world.kill(roles["control"])
world.commit("good day from the second release")

# The command itself may meet a control that was just killed: what was not accepted is sent again, what was accepted is not doubled.
def shipped():
    done = world.humdrum("ship", "--no-wait", "--json", at=world.shop, check=False)
    return done.returncode == 0 and json.loads(done.stdout.strip().splitlines()[-1])["id"]


before, repeated, ship, outcome = finished(), [], None, None
end = time.monotonic() + 300
while outcome is None and time.monotonic() < end:
    ship = ship or shipped()
    now = finished()
    repeated += [key for key, at in before.items() if now.get(key) != at]
    before = now
    outcome = world.outcome(ship) if ship else None
    time.sleep(0.1)
seconds = time.monotonic() - started
until("control is quiet", 30, world.healthy)
time.sleep(1)
watch.over = generations.over = True
watch.join(5)
generations.join(5)
answers = load.end()
points = ledger.read_text().splitlines()

must(outcome == "promoted", f"the second release: {outcome} after {len(points)} kills")
must(answers["lost"] == 0, f"{answers['lost']} of {answers['sent']} requests lost: {answers['lost_first']}")
must(answers["rate"] >= 200, f"only {answers['rate']} requests/s")
must(len(points) == len(set(points)) and len(points) >= POINTS_MIN, f"{len(points)} points, {POINTS_MIN} expected:\n" + "\n".join(points))
# Two threads may reach a point each before the signal arrives, so there are a few kills less than points.
must(len(watch.times) >= max(POINTS_MIN, len(points) * 0.9), f"{len(points)} points but only {len(watch.times)} resumes seen")
must(max(watch.times) <= RESUMED, f"slowest resume {max(watch.times):.2f} s of {sorted(round(time, 2) for time in watch.times)}")
must(world.pids()["edge"] == roles["edge"] and world.pids()["agent"] == roles["agent"], "edge or agent was replaced")

must(not repeated, f"finished effects were done again: {repeated}")
left = world.rows("SELECT key, status FROM effect WHERE status NOT IN ('done', 'superseded')")
must(not left, f"effects without a good end: {left}")
must(not generations.fallen and generations.reads > 50, f"numbers fell: {generations.fallen}, {generations.reads} reads")
slots = world.placement()["slots"]
must(sorted(slot["weight"] for slot in slots) == [0, 10000], f"weights at the end: {slots}")

chain = world.rows("SELECT count(*), max(pos) FROM feed")[0]
must(chain[0] == chain[1], f"the feed has gaps: {chain}")
hashes = world.rows("SELECT prev_hash, hash FROM feed ORDER BY pos")
must(all(now[0] == last[1] for last, now in zip(hashes, hashes[1:])), "the chain is broken")

times = sorted(watch.times)
print(
    f"crash points: {len(points)} points met in {len(times)} kills, {answers['sent']} requests at {answers['rate']:.0f}/s, {answers['lost']} lost; "
    f"resume median {times[len(times) // 2]:.2f} s, slowest {times[-1]:.2f} s; {len(before)} effects, none repeated; {chain[0]} events chained; {seconds:.0f} s"
)
if os.environ.get("POINTS"):
    print("\n".join(points))
