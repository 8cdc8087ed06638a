#!/usr/bin/env python3
"""Times `humdrum secrets` and gitleaks on the same repository with the same rule file, in turns, and prints Markdown.

The history is generated: source files of this machine's crate cache (real code), changed a few lines at a time by many commits, with
secrets planted from random material. It is written with `git fast-import` and packed as git packs it. Both programs run with gitleaks'
own rules, which are read out of its binary, and their findings must be equal, or the script fails.

    HUMDRUM=target/release/humdrum GITLEAKS=target/tools/bin/gitleaks bench/secrets.py [--commits 50000] [--runs 3] [--staged 300]

Needs git; standard library only.
"""
import argparse, json, math, os, pathlib, random, statistics, string, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parents[1]
HUMDRUM = os.path.abspath(os.environ.get("HUMDRUM", ROOT / "target/release/humdrum"))
GITLEAKS = os.path.abspath(os.environ.get("GITLEAKS", ROOT / "target/tools/bin/gitleaks"))
QUIET = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C"}
KINDS = [("ghp_", 36, string.ascii_letters + string.digits), ("glpat-", 20, string.ascii_letters + string.digits),
         ("xoxb-" + "1" * 12 + "-" + "2" * 12 + "-", 24, string.ascii_letters + string.digits), ("dop_v1_", 64, "0123456789abcdef"),
         ("AK" + "IA", 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), ("SG.", 66, string.ascii_letters + string.digits)]


def say(text):
    print(text, file=sys.stderr, flush=True)


def git(folder, *arguments, **more):
    return subprocess.run(["git", "-C", folder, *arguments], check=True, env=QUIET, **more)


def sources():
    """Texts of the crate cache, the same in every run on the same machine."""
    cache = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo")) / "registry/src"
    files = sorted(path for path in cache.rglob("*") if path.suffix in (".rs", ".toml", ".md", ".c", ".h", ".json") and path.is_file())
    return [(str(path.relative_to(cache)).split("/", 1)[1], path) for path in files if 2_000 < path.stat().st_size < 300_000]


def secret(rnd):
    head, count, letters = rnd.choice(KINDS)
    return f'let value = "{head}{"".join(rnd.choice(letters) for _ in range(count))}";\n'


def generate(folder, commits, seed):
    """Writes the history; gives the bytes of all its blobs."""
    rnd = random.Random(seed)
    git(folder, "init", "-q", "-b", "main", ".")
    pool = sources()
    rnd.shuffle(pool)
    files = []
    importer = subprocess.Popen(["git", "-C", folder, "fast-import", "--quiet"], stdin=subprocess.PIPE, env=QUIET)
    out, total = importer.stdin, 0
    for number in range(commits):
        changed = {}
        while pool and len(files) * commits < 6_000 * (number + 1) and len(changed) < 40:
            name, path = pool.pop()
            changed[len(files)] = None
            files.append((name.encode(), path.read_bytes().decode(errors="replace").splitlines(keepends=True)))
        for _ in range(rnd.randint(1, 3)):
            changed[rnd.randrange(len(files))] = None
        out.write(b"commit refs/heads/main\ncommitter T <t@example.com> %d +0000\ndata 1\nx\n" % (1_600_000_000 + number))
        for at in changed:
            name, lines = files[at]
            for _ in range(rnd.randint(1, 4)):
                where = rnd.randrange(len(lines) + 1)
                other = rnd.choice(files)[1]
                lines[where:where + rnd.randint(0, 2)] = other[: rnd.randint(0, 3)] or ["\n"]
            if rnd.random() < 0.01:
                lines.insert(rnd.randrange(len(lines) + 1), secret(rnd))
            text = "".join(lines).encode()
            total += len(text)
            out.write(b"M 100644 inline %s\ndata %d\n" % (name, len(text)))
            out.write(text)
            out.write(b"\n")
    out.close()
    if importer.wait() != 0:
        sys.exit("git fast-import failed")
    git(folder, "repack", "-q", "-a", "-d", "-f")
    return total


def rules(folder):
    """gitleaks' own rules, out of its binary."""
    data = pathlib.Path(GITLEAKS).read_bytes()
    start = data.index(b"# This file has been auto-generated. Do not edit manually.")
    last = b'keywords = ["zendesk"]\n'
    path = pathlib.Path(folder, "rules.toml")
    path.write_bytes(data[start:data.index(last, start) + len(last)])
    return str(path)


def timed(command, cwd):
    """Seconds, CPU seconds and the largest resident memory in MiB of one program with its children."""
    before = time.monotonic()
    child = subprocess.Popen(command, cwd=cwd, env=QUIET, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - before
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode not in (0, 3):
        sys.exit(f"{command[0]} ended with {child.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def places(path):
    return {(entry["RuleID"], entry["File"], entry["Commit"], entry["StartLine"]) for entry in json.loads(pathlib.Path(path).read_text())}


def spread(values, digits=1):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def rank(values, share):
    return sorted(values)[math.ceil(share * len(values)) - 1]


def history(options, folder, config):
    repo = str(pathlib.Path(folder, "repo"))
    os.mkdir(repo)
    say("generating the history")
    total = generate(repo, options.commits, 1)
    packed = sum(path.stat().st_size for path in pathlib.Path(repo, ".git/objects/pack").glob("*.pack"))
    ours, theirs = str(pathlib.Path(folder, "ours.json")), str(pathlib.Path(folder, "theirs.json"))
    commands = {
        "humdrum": [HUMDRUM, "secrets", "--history", repo, "--config", config, "--format", "gitleaks", "--output", ours],
        "gitleaks": [GITLEAKS, "git", repo, "--config", config, "--no-banner", "--log-level=error", "--exit-code=0", "-f", "json", "-r", theirs],
    }
    runs = {name: [] for name in commands}
    for turn in range(options.runs):
        for name, command in commands.items():
            runs[name].append(timed(command, repo))
            say(f"run {turn + 1}: {name} {runs[name][-1][0]:.1f} s")
    if places(ours) != places(theirs):
        sys.exit(f"the findings differ: only ours {list(places(ours) - places(theirs))[:5]}, only theirs {list(places(theirs) - places(ours))[:5]}")
    print(f"**History**: {options.commits:,} commits, {total / 1e6:,.0f} MB of blobs ({packed / 1e6:,.0f} MB packed), {len(places(ours))} findings, the same in both.\n")
    print("| | s | CPU s | peak RSS of one process, MiB |\n|---|---|---|---|")
    for name, all_runs in runs.items():
        seconds, cpu, memory = zip(*all_runs)
        print(f"| {name} | {spread(seconds)} | {spread(cpu)} | {max(memory):.0f} |")
    ratios = [b[0] / a[0] for a, b in zip(runs["humdrum"], runs["gitleaks"])]
    print(f"\ngitleaks took {spread(ratios)} times as long.\n")


def staged(options, folder, config):
    repo = str(pathlib.Path(folder, "staged"))
    os.mkdir(repo)
    git(repo, "init", "-q", ".")
    rnd = random.Random(2)
    pool = sources()
    for name, path in rnd.sample(pool, 200):
        place = pathlib.Path(repo, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    git(repo, "add", "-A")
    git(repo, "-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "-q", "-m", "x")
    tracked = subprocess.run(["git", "-C", repo, "ls-files"], check=True, capture_output=True, text=True).stdout.splitlines()
    for name in rnd.sample(tracked, 5):
        place = pathlib.Path(repo, name)
        lines = place.read_text(errors="replace").splitlines(keepends=True)
        for _ in range(10):
            lines.insert(rnd.randrange(len(lines) + 1), rnd.choice(lines))
        place.write_text("".join(lines))
    git(repo, "add", "-A")
    commands = {
        "humdrum, gitleaks' rules": [HUMDRUM, "secrets", "--staged", "--config", config],
        "humdrum, its own rules": [HUMDRUM, "secrets", "--staged"],
        "git diff alone": ["git", "diff", "-U0", "--no-ext-diff", "--staged", "."],
        "gitleaks": [GITLEAKS, "git", "--staged", "--config", config, "--no-banner", "--log-level=error", "--exit-code=0"],
    }
    times = {name: [] for name in commands}
    for _ in range(options.staged):
        for name, command in commands.items():
            times[name].append(timed(command, repo)[0] * 1000)
    print(f"**Staged change** of 50 lines in 5 files; whole processes, {options.staged} each, in turns.\n")
    print("| | median ms | p95 | p99 |\n|---|---|---|---|")
    for name, all_times in times.items():
        print(f"| {name} | {statistics.median(all_times):.1f} | {rank(all_times, .95):.1f} | {rank(all_times, .99):.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--commits", type=int, default=50_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--staged", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as folder:
        config = rules(folder)
        staged(options, folder, config)
        print()
        history(options, folder, config)
    print(f"Load average at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
