"""The story of 30-kill-roles.sh."""

import sys
import time

from world import Load, World, must, until

RATE = 400
EDGE_BACK = 1.0  # seconds
CONTROL_BACK = 2.0
ROUTE = "demo-shop.production"

world = World(sys.argv[1])
world.make_shop(f"  production: {{ port: {world.ports[2]}, rollout: {{ canary: {{ soak: 1s }} }} }}\n")
world.up()
world.commit("hello from the first release")
must(world.shipped() == "promoted", "the release was not promoted")


def instances():
    """Index and pid of what the agent says is ready."""
    units = world.socket_json("agent", "/units")["units"]
    return {one["name"]: one["pid"] for unit in units for one in unit["instances"] if one["state"] == "ready"}


def blocks(after=0):
    return world.socket_json("edge", f"/routes/{ROUTE}/blocks?after={after}&limit=1000")


def table():
    status = world.socket_json("edge", f"/routes/{ROUTE}")
    return status["fence"], status["generation"]


def role_back(role, killed, probe, seconds):
    """Waits until another process of the role answers; gives the time since the kill."""
    since = time.monotonic()
    until(f"{role} is back", seconds + 3, lambda: world.pid(role) != killed and probe(), 0.005)
    return time.monotonic() - since


def socket_answers(name):
    try:
        return "pid" in world.socket_json(name, "/healthz")
    except (OSError, ValueError):
        return False


figures = []
running = instances()
must(len(running) == 2, f"two instances are to be ready: {running}")

# Control: users do not notice, the split stays.
load, shares, pid = Load(world.ports[2], RATE), world.shares(), world.pid("control")
time.sleep(1)
world.kill(pid)
back = role_back("control", pid, world.healthy, CONTROL_BACK)
until("the placement is known again", 20, world.placement)
time.sleep(0.5)
must(world.shares() == shares, f"weights were {shares}, are {world.shares()}")
answers = load.end()
must(answers["lost"] == 0 and answers["rate"] >= RATE / 2, f"control killed: {answers}")
must(back <= CONTROL_BACK, f"control was back after {back:.2f} s")
must(instances() == running, f"instances changed: {running}, {instances()}")
figures.append(f"control back in {back:.2f} s, 0 of {answers['sent']} lost")

# Edge: serving within a second, from disk; what it had not sealed is a recorded gap.
until("blocks are sealed", 20, lambda: blocks())
load, pid = Load(world.ports[2], RATE), world.pid("edge")
time.sleep(2)
last, before = max(block["number"] for block in blocks()), table()
world.kill(pid)
back = role_back("edge", pid, lambda: socket_answers("edge"), EDGE_BACK)
until("the edge counts again", 20, lambda: any(block["number"] > last + 1 for block in blocks(last)))
answers = load.end()
must(answers["gap"] <= EDGE_BACK, f"nobody was served for {answers['gap']} s: {answers}")
must(answers["sent"] - answers["lost"] > RATE, f"it hardly served: {answers}")
must(table() >= before, f"the table fell from {before} to {table()}")
new = blocks(last)
gaps = [block for block in new if block.get("gap")]
must(gaps, f"no gap is recorded after block {last}: {new[:3]}")
numbers = [block["number"] for block in new]
must(numbers == sorted(set(numbers)), f"blocks are not numbered once each: {numbers}")
figures.append(f"edge served again after {answers['gap']:.2f} s ({answers['lost']} of {answers['sent']} met the closed door), {len(gaps)} gap recorded")

# Agent: instances do not notice and are its own again.
load, pid, running = Load(world.ports[2], RATE), world.pid("agent"), instances()
time.sleep(0.5)
world.kill(pid)
back = role_back("agent", pid, lambda: socket_answers("agent"), CONTROL_BACK)
until("the instances are adopted", 20, lambda: instances() == running)
time.sleep(1)
must(instances() == running, f"instances were {running}, are {instances()}")
answers = load.end()
must(answers["lost"] == 0, f"agent killed: {answers}")
figures.append(f"agent back in {back:.2f} s, {len(running)} instances adopted, 0 lost")

# An instance: started again under its name.
name, pid = next(iter(running.items()))
since = time.monotonic()
world.kill(pid)
until("the instance is started again", 15, lambda: instances().get(name) not in (None, pid))
back = time.monotonic() - since
others = {one: of for one, of in running.items() if one != name}
must(others.items() <= instances().items(), "another instance was touched")
figures.append(f"instance back in {back:.2f} s")

# The supervisor: the next one adopts what runs.
load, roles, running, pid = Load(world.ports[2], RATE), world.pids(), instances(), world.pid("up")
world.kill(pid)
until("the supervisor is gone", 5, lambda: world.humdrum("status", check=False).returncode == 0)
world.up()
must(world.pid("up") != pid, "no new supervisor")
must(world.pids() == roles and instances() == running, f"roles were {roles}, are {world.pids()}; instances were {running}, are {instances()}")
answers = load.end()
must(answers["lost"] == 0, f"supervisor killed: {answers}")
figures.append("supervisor replaced, all adopted")

# Second ones on the same data.
second = world.humdrum("up", check=False, timeout=30)
must(second.returncode == 1 and "runs on" in second.stderr + second.stdout, f"a second `up`: {second.returncode} {second.stdout}{second.stderr}")
second = world.humdrum("role", "control", "--listen", "127.0.0.1:0", check=False, timeout=30)
said = second.stdout + second.stderr
must(second.returncode == 1 and "panicked" not in said, f"a second control: {second.returncode} {said}")
must("another" in said or "already" in said, f"the message of a second control is not clear: {said}")
must(world.pids() == roles and world.healthy(), "the first ones were disturbed")
figures.append("second `up` and second control refused")

print("kill roles: " + "; ".join(figures))
