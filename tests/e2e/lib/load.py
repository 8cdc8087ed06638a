"""Steady, bounded load on one loopback port: `load.py PORT RATE SECONDS_MAX`. It says `ready`. SIGTERM ends it; then it prints what became of every request.

Lost is every answer that the service itself did not give: the edge's own, broken connections, answers later than PATIENCE.
"""

import asyncio
import json
import signal
import sys
import time

USERS = 16
PATIENCE = 10.0
RATE_MAX = 3000


class Load:
    def __init__(self, port, rate):
        self.port, self.pause = port, USERS / min(rate, RATE_MAX)
        self.sent = self.errors = 0
        self.lost = []  # seconds since the start, and why
        self.stop = asyncio.Event()
        self.started = time.monotonic()
        self.answered = self.started
        self.gap = 0.0  # longest time without an answer of the service

    async def user(self, offset):
        await asyncio.sleep(offset)
        connection, due = None, time.monotonic()
        while not self.stop.is_set():
            self.sent += 1
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", self.port)
                status, lost = await asyncio.wait_for(ask(*connection), PATIENCE)
            except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError, ValueError) as error:
                status, lost = 0, f"{type(error).__name__} {error}"
            now = time.monotonic()
            if lost:
                self.lost.append((round(now - self.started, 3), lost))
                if connection:
                    connection[1].close()
                connection = None
            else:
                self.errors += status >= 500
                self.gap, self.answered = max(self.gap, now - self.answered), now
            # Missed requests are not sent in a burst.
            due = max(due + self.pause, now)
            await asyncio.sleep(due - now)
        if connection:
            connection[1].close()


async def ask(reader, writer):
    writer.write(b"GET / HTTP/1.1\r\nhost: shop.localhost\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower().split("\r\n")
    length = next(int(line.split(":", 1)[1]) for line in head if line.startswith("content-length:"))
    await reader.readexactly(length)
    by_edge = next((line for line in head if line.startswith("x-humdrum-edge:")), None)
    return int(head[0].split(" ")[1]), by_edge and f"{head[0]} {by_edge}"


async def main():
    port, rate, seconds_max = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    load = Load(port, rate)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, load.stop.set)
    print("ready", flush=True)
    loop.call_later(seconds_max, load.stop.set)
    await asyncio.gather(*(load.user(load.pause * user / USERS) for user in range(USERS)))
    seconds = time.monotonic() - load.started
    summary = {"sent": load.sent, "lost": len(load.lost), "errors": load.errors, "seconds": round(seconds, 3), "rate": round(load.sent / seconds, 1)}
    print(json.dumps(summary | {"gap": round(load.gap, 3), "lost_first": load.lost[:5]}), flush=True)


asyncio.run(main())
