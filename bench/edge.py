#!/usr/bin/env python3
"""Compares the edge with nginx and haproxy in interleaved rounds and prints Markdown.

Every proxy splits 90/10 over two ports of one nginx worker that answers 100 bytes. The figure to compare is CPU µs per
request (user + system time of the proxy's processes): req/s depends on what else the machine does. The edge counts for the
judge meanwhile, in 1 s blocks.

    cargo build --profile dist -p humdrum-edge --example edge
    bench/edge.py [--edge PATH] [--rounds 5] [--seconds 8]

Needs wrk, nginx and haproxy (`apt-get install wrk nginx haproxy`).
"""
import argparse, json, os, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time

TICK = os.sysconf("SC_CLK_TCK")
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port):
    for _ in range(500):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.01)
    sys.exit(f"nothing listens on port {port}")


def tree(pid):
    pids, todo = [], [pid]
    while todo:
        pid = todo.pop()
        pids.append(pid)
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as f:
                todo += map(int, f.read().split())
    return pids


def cpu_s(pid):
    total = 0
    for p in tree(pid):
        with open(f"/proc/{p}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def write(path, text):
    with open(path, "w") as f:
        f.write(text)
    return path


def upstream(folder, ports):
    servers = "".join(f"server {{ listen 127.0.0.1:{p} reuseport; location / {{ return 200 '{'x' * 100}'; }} }}" for p in ports)
    conf = write(f"{folder}/up.conf", f"""daemon off; worker_processes 1; pid {folder}/up.pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; {servers} }}""")
    return subprocess.Popen(["nginx", "-c", conf, "-e", "/dev/null"])


def nginx(folder, port, ports, cores):
    conf = write(f"{folder}/nginx.conf", f"""daemon off; worker_processes {cores}; pid {folder}/nginx.pid; error_log /dev/null;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000;
upstream up {{ server 127.0.0.1:{ports[0]} weight=9; server 127.0.0.1:{ports[1]} weight=1; keepalive 64; keepalive_requests 100000000; }}
server {{ listen 127.0.0.1:{port} reuseport; location / {{ proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
proxy_set_header Host $host; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Request-Id $request_id; }} }} }}""")
    return subprocess.Popen(["nginx", "-c", conf, "-e", "/dev/null"])


def haproxy(folder, port, ports, cores):
    conf = write(f"{folder}/haproxy.cfg", f"""global
  nbthread {cores}
  maxconn 4096
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 1s
  http-reuse always
  option forwardfor
frontend f
  bind 127.0.0.1:{port}
  unique-id-format %{{+X}}o%ci%cp%Ts%rt%pid
  unique-id-header X-Request-Id
  http-request set-header X-Forwarded-Proto http
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  default_backend b
backend b
  server a 127.0.0.1:{ports[0]} weight 90
  server c 127.0.0.1:{ports[1]} weight 10
""")
    return subprocess.Popen(["haproxy", "-q", "-f", conf])


def edge(program):
    def start(folder, port, ports, cores):
        data = f"{folder}/edge"
        process = subprocess.Popen([program, data, str(cores)])
        arm = lambda name, slot, weight, p: {"name": name, "slot": slot, "release": name, "deployment_id": name, "weight": weight,
                                             "instances": [{"instance": name, "addr": f"127.0.0.1:{p}"}]}
        table = {"route": "bench.local", "fence": 1, "generation": 1, "listen": {"addr": f"127.0.0.1:{port}"}, "block_ms": 1000,
                 "arms": [arm("baseline", "a", 9000, ports[0]), arm("canary", "b", 1000, ports[1])]}
        for _ in range(500):
            if os.path.exists(f"{data}/admin.sock"):
                break
            time.sleep(0.01)
        body = json.dumps(table).encode()
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"{data}/admin.sock")
            s.sendall(b"PUT /routes/bench.local HTTP/1.1\r\nhost: e\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            answer = s.recv(65536)
        if b" 200 " not in answer.split(b"\r\n")[0]:
            sys.exit(f"the edge refused the table: {answer!r}")
        return process
    return start


def ms(text):
    # A caller that was not scheduled for long makes wrk say minutes, or no number at all.
    match = re.fullmatch(r"(-?nan|[\d.]+)(us|ms|s|m)", text)
    if not match:
        sys.exit(f"wrk says `{text}` where a latency belongs")
    number, unit = match.groups()
    return float(number) * {"us": 0.001, "ms": 1, "s": 1000, "m": 60000}[unit]


def load(port, seconds):
    out = subprocess.run(["wrk", "-t1", "-c64", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True).stdout
    requests = int(re.search(r"(\d+) requests in", out)[1])
    bad = re.search(r"Non-2xx[^:]*: (\d+)", out)
    errors = re.search(r"Socket errors: (.*)", out)
    if bad or errors:
        print(f"port {port}: {bad and bad[0]} {errors and errors[0]}", file=sys.stderr)
    return requests, float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]), ms(re.search(r"99%\s+(\S+)", out)[1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edge", action="append", help="NAME=PATH or PATH of an edge; repeat to compare several")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--only", help="comma separated names")
    args = parser.parse_args()
    for tool in ("wrk", "nginx", "haproxy"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is missing: apt-get install wrk nginx haproxy")
    cores = os.cpu_count()
    proxies = {"nginx": nginx, "haproxy": haproxy}
    for spec in args.edge or [f"{ROOT}/target/dist/examples/edge"]:
        name, _, path = spec.rpartition("=")
        proxies[name or "humdrum edge"] = edge(path)
    if args.only:
        proxies = {k: v for k, v in proxies.items() if k in args.only.split(",")}
    ports = [free_port(), free_port()]
    seen = {name: [] for name in proxies}
    with tempfile.TemporaryDirectory() as folder:
        up = upstream(folder, ports)
        wait_for(ports[0])
        try:
            for turn in range(args.rounds):
                order = list(proxies) if turn % 2 == 0 else list(reversed(proxies))
                for name in order:
                    inner = tempfile.mkdtemp(dir=folder)
                    port = free_port()
                    process = proxies[name](inner, port, ports, cores)
                    wait_for(port)
                    load(port, 1)
                    before = cpu_s(process.pid)
                    requests, rate, p99 = load(port, args.seconds)
                    cost = (cpu_s(process.pid) - before) / requests * 1e6
                    seen[name].append((cost, rate, p99))
                    print(f"round {turn + 1} {name}: {cost:.2f} µs/request, {rate:.0f} req/s, p99 {p99:.2f} ms", file=sys.stderr)
                    process.send_signal(signal.SIGTERM)
                    try:
                        process.wait(10)
                    except subprocess.TimeoutExpired:
                        process.kill()
        finally:
            up.terminate()
    reference = statistics.median(s[0] for s in seen["nginx"]) if seen.get("nginx") else None
    span = lambda values, digits: f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"
    print("| proxy | CPU µs/request: median (min–max) | × nginx | req/s | p99 ms |\n|---|---|---|---|---|")
    for name, rows in seen.items():
        cost, rate, p99 = zip(*rows)
        ratio = f"{statistics.median(cost) / reference:.2f}" if reference else "–"
        print(f"| {name} | {span(cost, 1)} | {ratio} | {span(rate, 0)} | {span(p99, 2)} |")


main()
