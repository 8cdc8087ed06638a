#!/usr/bin/env python3
"""Operating characteristics of the judge, and its comparison with the reference implementation.

Generates rollouts with known truth, judges each with `--judge`, compares verdict, block and evidence with `--reference` (the
independent implementation, which is no part of the product; leave it out to get the table alone) and prints a table in Markdown.

    cargo build --release -p humdrum-model --example judge_replay
    python3 bench/judge_tables.py --judge target/release/examples/judge_replay --reference PATH/refreplay.py

`--judge` is a command that takes files and prints one JSON object per line, in order. `humdrum judge replay` takes one file: add
`--batch 1`. Everything is a function of `--seed`; the standard library is enough. Exit code 1 when any rollout differs.

The rollouts: 3 canary and 27 baseline instances, 100 requests/s, canary share 10 %, blocks of 10 s, 2 h, no history;
alpha 1 %, beta 5 %, margin 1.25, absolute margin 0.05 points, rule_out 2. A true ratio R multiplies all errors of the canary.
"""
import argparse, importlib.util, json, math, multiprocessing, os, random, shlex, statistics, subprocess, sys, tempfile, time

RATIOS = [0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0]
# name, error rate outside bursts, share of cells in a burst, error rate inside one
NOISE = [
    ("1 %, independent", 0.01, 0.0, 0.0),
    ("1 %, bursts", 0.0075, 0.005, 0.5),
    ("0.1 %, independent", 0.001, 0.0, 0.0),
    ("0.1 %, bursts", 0.00024, 0.00152, 0.5),
]
CANARY, BASELINE, RPS, BLOCK_S, BLOCKS = 3, 27, 100.0, 10, 720
CHUNKS = [40, 120, 360, BLOCKS]   # most rollouts are decided early: the rest of them is never generated
HEAD = json.dumps({"config": {"alpha": 0.01, "beta": 0.05, "margin": 1.25, "absolute_margin": 0.0005,
                              "stages": [{"share": CANARY / (CANARY + BASELINE), "rule_out": 2.0}], "metrics": ["errors"]}})


def binomial(rng, n, p):
    """Geometric jumps between hits: quick for rare ones."""
    if p >= 0.2:
        return sum(rng.random() < p for _ in range(n))
    hits, at, scale = 0, 0, 1 / math.log1p(-p)
    while True:
        at += int(math.log(1.0 - rng.random()) * scale) + 1
        if at > n:
            return hits
        hits += 1


def blocks(seed, ratio, noise):
    """The lines of one rollout after its first."""
    rng = random.Random(seed)
    _, usual, bursts, inside = noise
    mean = RPS * BLOCK_S / (CANARY + BASELINE)
    names = [(f"c{i}", "canary", ratio) for i in range(CANARY)] + [(f"b{i:02}", "baseline", 1.0) for i in range(BASELINE)]
    for t in range(BLOCKS):
        cells = []
        for name, arm, times in names:
            n = max(0, round(rng.gauss(mean, math.sqrt(mean))))
            p = inside if bursts and rng.random() < bursts * times else usual * times
            cells.append(f'{{"instance":"{name}","arm":"{arm}","requests":{n},"errors":{binomial(rng, n, min(p, 1.0))}}}')
        yield f'{{"t":{t * BLOCK_S},"stage":0,"cells":[{",".join(cells)}]}}'


def load(path):
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location("reference", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def judge_files(command, paths, batch):
    out = []
    for i in range(0, len(paths), batch):
        run = subprocess.run(command + paths[i:i + batch], capture_output=True, text=True)
        if run.returncode != 0:
            raise SystemExit(f"{shlex.join(command)} failed with {run.returncode}: {run.stderr}")
        out += [json.loads(line) for line in run.stdout.splitlines()]
    return out


def work(task):
    """Judges one batch of rollouts of one cell of the table; returns (row, column, [(verdict, block)], differences, compared)."""
    args, row, column, first, last = task
    running = {i: (blocks(f"{args.seed}/{row}/{column}/{i}", RATIOS[row], NOISE[column]), [HEAD]) for i in range(first, last)}
    reference = load(args.reference) if args.reference and first < args.compare else None
    results, differences, compared = {}, [], 0
    with tempfile.TemporaryDirectory() as folder:
        for end in CHUNKS:
            for i, (lines, text) in running.items():
                text += [line for _, line in zip(range(end + 1 - len(text)), lines)]
                with open(os.path.join(folder, f"{i}.jsonl"), "w") as file:
                    file.write("\n".join(text))
            found = judge_files(shlex.split(args.judge), [os.path.join(folder, f"{i}.jsonl") for i in running], args.batch)
            for (i, (_, text)), one in zip(list(running.items()), found):
                if one["verdict"] not in ("FAIL", "PASS") and end < BLOCKS:
                    continue
                results[i] = (one["verdict"], one["block"])
                del running[i]
                if reference and i < args.compare:
                    other, compared = reference.judge(text), compared + 1
                    same = all(one[k] == other[k] for k in ("verdict", "block")) and all(
                        abs(one[k] - other[k]) <= 1e-6 for k in ("log_e", "log_e_safe"))
                    if not same:
                        differences.append((f"{args.seed}/{row}/{column}/{i}", {k: one[k] for k in other}, other))
            if not running:
                break
    return row, column, [results[i] for i in sorted(results)], differences, compared


def spoken(results):
    n = len(results)
    share = lambda *verdicts: 100 * sum(v in verdicts for v, _ in results) / n
    text = f"{share('FAIL'):.3g} / {share('PASS'):.3g}"
    rest = 100 - share("FAIL") - share("PASS")
    if rest > 0.05:
        text += f" / {rest:.3g}"
    for verdict in ("FAIL", "PASS"):
        if share(verdict) >= 50:
            minutes = statistics.median((b + 1) * BLOCK_S / 60 for v, b in results if v == verdict)
            text += f", {verdict.lower()} {minutes:.2g} min"
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--judge", required=True, help="command that judges files")
    parser.add_argument("--reference", help="path of refreplay.py; without it nothing is compared")
    parser.add_argument("--traces", type=int, default=500, help="rollouts for each cell of the table")
    parser.add_argument("--compare", type=int, default=125, help="of these, how many are compared with the reference")
    parser.add_argument("--batch", type=int, default=25, help="files for each call of the judge")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    size = 25
    tasks = [(args, row, column, first, min(first + size, args.traces))
             for first in range(0, args.traces, size) for row in range(len(RATIOS)) for column in range(len(NOISE))]
    table = {(row, column): [] for row in range(len(RATIOS)) for column in range(len(NOISE))}
    compared, differences, start = [0] * len(RATIOS), [], time.time()
    with multiprocessing.Pool(args.jobs) as pool:
        for done, (row, column, results, wrong, count) in enumerate(pool.imap_unordered(work, tasks), 1):
            table[row, column] += results
            compared[row] += count
            differences += wrong
            print(f"\r{done}/{len(tasks)} batches, {sum(compared)} compared, {len(differences)} differ, "
                  f"{time.time() - start:.0f} s", end="", file=sys.stderr)
    print(file=sys.stderr)
    print("| true R | " + " | ".join(name for name, *_ in NOISE) + " | compared |")
    print("|---" * (len(NOISE) + 2) + "|")
    for row, ratio in enumerate(RATIOS):
        print(f"| {ratio:g} | " + " | ".join(spoken(table[row, column]) for column in range(len(NOISE))) + f" | {compared[row]} |")
    print(f"\n{args.traces} rollouts for each cell, seed {args.seed}: FAIL / PASS / neither in %, median time of the more frequent verdict.")
    if args.reference:
        print(f"{sum(compared)} rollouts compared with the reference: {len(differences)} differ.")
    for name, ours, theirs in differences[:10]:
        print(f"differs: {name}\n  judge     {ours}\n  reference {theirs}", file=sys.stderr)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
