"""A cable between two network namespaces, with delay and loss; the same as delaylink.c, for where there is no compiler.

    python delaylink.py NAMESPACE1 INTERFACE1 NAMESPACE2 INTERFACE2 DELAY_MS LOSS_PERCENT DUPLICATE_PERCENT JITTER_MS

NAMESPACE is a path such as /run/netns/name. Prints "ready" once both interfaces exist, and ends when its standard input
is closed. All applies to each direction. Jitter is added to the delay, at random up to that much for each frame: with
it frames overtake each other. It stands alone, so that it starts quickly.
"""

import ctypes
import fcntl
import heapq
import itertools
import os
import random
import select
import struct
import sys
import time

CLONE_NEWNET = 0x40000000  # <linux/sched.h>
TUNSETIFF = 0x400454CA  # <linux/if_tun.h>, with the two flags
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
FRAME_SIZE = 1536  # bytes; 1500 of payload and the Ethernet header
QUEUE_LENGTH = 32768  # frames
BURST = 64  # frames read from one side before the other one gets its turn


class Direction:
    """Frames on their way from one TAP device to the other, each with the time it is due (s, monotonic clock)."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.frames: list[tuple[float, int, bytes]] = []  # a heap, numbered: those due together keep their order
        self.numbers = itertools.count()

    def take(self, delay: float, loss: float, duplicate: float, jitter: float) -> None:
        """Moves frames from the device into the queue."""
        now = time.monotonic()
        for _ in range(BURST):
            try:
                frame = os.read(self.source, FRAME_SIZE)
            except OSError:  # nothing more to read
                return
            if random.random() < loss or len(self.frames) >= QUEUE_LENGTH:
                continue
            for _ in range(2 if random.random() < duplicate else 1):
                due = now + delay + random.random() * jitter
                heapq.heappush(self.frames, (due, next(self.numbers), frame))

    def deliver(self) -> None:
        """Sends the frames whose time has come."""
        while self.frames and self.frames[0][0] <= time.monotonic():
            *_, frame = heapq.heappop(self.frames)
            try:
                os.write(self.target, frame)
            except OSError:  # the far interface is not up, or its queue is full: frames get lost, as on a cable
                continue


def open_tap(namespace: str, name: str) -> int:
    """Makes a TAP device in a namespace and returns its file descriptor; leaves the process in that namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    inside = os.open(namespace, os.O_RDONLY)
    if libc.setns(inside, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), f"setns {namespace}")
    os.close(inside)
    # Opened only now: the device appears in the namespace that the descriptor was opened in.
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


def main(near_namespace: str, near: str, far_namespace: str, far: str, *impairment: str) -> None:
    delay_ms, loss_percent, duplicate_percent, jitter_ms = map(float, impairment)
    impaired = delay_ms / 1000, loss_percent / 100, duplicate_percent / 100, jitter_ms / 1000
    near_tap, far_tap = open_tap(near_namespace, near), open_tap(far_namespace, far)
    ways = {near_tap: Direction(near_tap, far_tap), far_tap: Direction(far_tap, near_tap)}
    stdin = sys.stdin.fileno()
    poll = select.poll()
    for descriptor in (stdin, near_tap, far_tap):
        poll.register(descriptor, select.POLLIN)
    print("ready", flush=True)
    while True:
        for way in ways.values():
            way.deliver()
        due = [way.frames[0][0] for way in ways.values() if way.frames]
        pause = max(0.0, min(due) - time.monotonic()) if due else 1.0
        for descriptor, _ in poll.poll(pause * 1000):
            if descriptor == stdin:
                return
            ways[descriptor].take(*impaired)


if __name__ == "__main__":
    main(*sys.argv[1:])
