"""Ports that stay free until their story ends.

A port of 0 gives one from the range of outgoing connections: between asking for it and listening at it, any client on the machine may get it.
These lie below that range and below those of Humdrum itself, and are marked, so that two stories at once never have the same.
"""

import random
import socket

FIRST, LAST = 10_000, 17_999

# One name each in the kernel's abstract namespace, which ends with this process, however it ends.
marks = []


def free_ports(count):
    return [free_port() for _ in range(count)]


def free_port():
    for port in random.sample(range(FIRST, LAST + 1), LAST - FIRST + 1):
        mark = socket.socket(socket.AF_UNIX)
        try:
            mark.bind(f"\0humdrum-test-port-{port}")
            with socket.socket() as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(("127.0.0.1", port))
        except OSError:
            mark.close()
            continue
        marks.append(mark)
        return port
    raise OSError(f"every port from {FIRST} to {LAST} is taken")
