"""The story of 35-probe.sh."""

import json
import sys
import time

from world import World, must, until

RPS = 400
ROUTE = "demo-shop.production"
DEADLINE = 6  # seconds of the stage that nobody visits

world = World(sys.argv[1])


def manifest(deadline, probe=""):
    """One judged step with half of the traffic; `probe` is a section of its own."""
    ladder = f"steps: [50, 100], rule_out: [5], block: 100ms, warmup: 0s, soak: 500ms, deadline: {deadline}s, metrics: [errors]"
    return f"  production: {{ port: {world.ports[2]}, rollout: {{ canary: {{ {ladder} }}, on_regression: rollback }} }}\n{probe}"


def declare(text):
    path = world.shop / "humdrum.yaml"
    path.write_text(path.read_text().split("environments:\n")[0] + "environments:\n" + text)


def counted(after_ms=0):
    """Requests that the edge counted in blocks that began after this moment, by arm; how many such blocks there are."""
    arms, blocks, number = {}, 0, 0
    while page := world.socket_json("edge", f"/routes/{ROUTE}/blocks?after={number}&limit=1000"):
        number = page[-1]["number"]
        for block in page:
            if block["start_ms"] > after_ms:
                blocks += 1
                for cell in block.get("cells", []):
                    arms[cell["arm"]] = arms.get(cell["arm"], 0) + cell["requests"]
    return arms, blocks


def explained():
    return json.loads(world.humdrum("explain", "demo-shop/production", "--json").stdout)


def judged(outcome, verdict):
    """The newest rollout ended so, by this verdict of the judge."""
    last = until("its history", 10, lambda: next(iter(world.placement()["history"]), None))
    verdicts = [one["verdict"] for one in last["verdicts"]]
    must(last["outcome"] == outcome and verdicts[-1:] == [verdict], f"it ended {last['outcome']} by {verdicts}, not {outcome} by {verdict}")
    return last["verdicts"][-1]


started = time.monotonic()
world.make_shop(manifest(DEADLINE), errors=50)
world.up()
world.commit("hello from the first release")
must(world.shipped() == "promoted", "the first release was not promoted")

# Nobody visits, nothing is declared: it holds, says so, and neither goes on nor back.
world.commit("hello to nobody")
unvisited = world.ship()
until("it waits for traffic", 90, lambda: explained()["state"] == "waiting_for_traffic", 0.1)
text = " ".join(explained()["sentences"])
must("0 requests reached it" in text, f"the reason does not name the requests: {text}")
ended = world.humdrum("watch", unvisited, "--timeout", "60s", check=False)
must(ended.returncode == 5, f"after the deadline without traffic: exit {ended.returncode}, expected 5\n{ended.stdout}{ended.stderr}")
held = explained()
must("INSUFFICIENT" in " ".join(held["sentences"]).upper(), f"the deadline gives no reason: {held['sentences']}")
must(sorted(world.shares().values()) == [5000, 5000], f"without data it moved: {world.shares()}")
arms, _ = counted()
must(not any(arms.values()), f"somebody was counted although nobody asked: {arms}")

# The same service with declared traffic: judged, and promoted.
declare(manifest(60, f"probe: {{ get: /, rps: {RPS}, headers: {{ x-who: humdrum }} }}\n"))
world.commit("hello to a probe")
since = time.time()
must(world.shipped() == "promoted", f"the good release: {explained()['sentences']}")
took = time.time() - since
passed = judged("promoted", "PASS")
good, _ = counted()
must(good.get("canary", 0) > 0 and good.get("baseline", 0) > 0, f"an arm was never asked: {good}")
must(sum(good.values()) <= RPS * took, f"{good} in {took:.1f} s is more than the declared {RPS}/s")

# The traffic ends with the judgement.
def quiet():
    arms, blocks = counted((time.time() - 1) * 1000)
    return blocks >= 5 and not any(arms.values())


until("nobody asks after the judgement", 20, quiet, 0.1)

# A bad one goes back, by the same traffic alone.
world.commit("hello with errors", errors=400)
must(world.shipped() == "rolled_back", f"the bad release: {explained()['sentences']}")
failed = judged("rolled_back", "FAIL")
weights = sorted(world.shares().values())
must(weights == [0, 10000], f"weights after the bad release: {weights}")
print(
    f"probe: without traffic exit 5 and `{held['sentences'][0]}`; declared {RPS}/s: good release PASS at block {passed['blocks']} after "
    f"{good['canary']} + {good['baseline']} requests, bad one FAIL at block {failed['blocks']}; {time.monotonic() - started:.0f} s"
)
