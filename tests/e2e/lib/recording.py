"""The story of 50-recording.sh."""

import json
import sys
import time

from world import Load, World, must, until

world = World(sys.argv[1])
world.make_shop(
    f"""  production:
    port: {world.ports[2]}
    rollout:
      canary: {{ steps: [10, 100], rule_out: [20], block: 200ms, warmup: 0s, soak: 400ms, deadline: 60s, metrics: [errors] }}
      on_regression: rollback
"""
)
world.up()
world.commit("hello from the first release")
must(world.shipped() == "promoted", "the first release was not promoted")
load = Load(world.ports[2], 600)
time.sleep(2)  # The judge is to know the baseline.

# Each release: what the live judge said at last, and what the replay of its recording says.
said = []
for greeting, errors, outcome, verdict in (("good day", 10, "promoted", "PASS"), ("hi", 300, "rolled_back", "FAIL")):
    world.commit(greeting, errors)
    ended = world.shipped()
    must(ended == outcome, f"`{greeting}` ended {ended}, expected {outcome}")
    live = until("its history", 5, lambda: next(iter(world.placement()["history"]), None))
    must(live["outcome"] == outcome, f"the newest in the history is {live['outcome']}")
    last = live["verdicts"][-1]
    file = world.folder / f"{outcome}.jsonl"
    world.humdrum("judge", "export", live["deployment_id"], "--output", str(file))
    replayed = world.humdrum("judge", "replay", str(file)).stdout
    must(world.humdrum("judge", "replay", str(file)).stdout == replayed, "two replays differ")
    report = json.loads(replayed)
    shown = f"live {last}, replayed {report}"
    must(report["verdict"] == verdict and str(last["verdict"]).upper() == verdict, f"not {verdict}: {shown}")
    # The replay counts blocks from 0, the history tells how many there were.
    must(report["block"] + 1 == last["blocks"], f"another block: {shown}")
    for key in ("log_e", "log_e_safe"):
        must(abs(report[key] - last[key]) <= 1e-9, f"{key} differs: {shown}")
    blocks = len(file.read_text().splitlines()) - 1
    said.append(f"{verdict} at block {report['block']} of {blocks}, log_e {report['log_e']:.6f}")
answers = load.end()
must(answers["lost"] == 0, f"requests were lost: {answers}")
print(f"recording: live and replayed agree: {'; '.join(said)}; {answers['sent']} requests, 0 lost")
