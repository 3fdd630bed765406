"""A cable between two network namespaces, with delay and loss; the same as delaylink.c, for where there is no compiler.

    python delaylink.py NAMESPACE1 INTERFACE1 NAMESPACE2 INTERFACE2 DELAY_MS LOSS_PERCENT

NAMESPACE is a path such as /run/netns/name. Prints "ready" once both interfaces exist, and ends when its standard input
is closed. Delay and loss apply to each direction. It stands alone, so that it starts quickly.
"""

import ctypes
import fcntl
import os
import random
import select
import struct
import sys
import time
from collections import deque

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
        self.frames: deque[tuple[float, bytes]] = deque()

    def take(self, delay: float, loss: float) -> None:
        """Moves frames from the device into the queue."""
        due = time.monotonic() + delay
        for _ in range(BURST):
            try:
                frame = os.read(self.source, FRAME_SIZE)
            except OSError:  # nothing more to read
                return
            if random.random() >= loss and len(self.frames) < QUEUE_LENGTH:
                self.frames.append((due, frame))

    def deliver(self) -> None:
        """Sends the frames whose time has come."""
        while self.frames and self.frames[0][0] <= time.monotonic():
            _, frame = self.frames.popleft()
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


def main(near_namespace: str, near: str, far_namespace: str, far: str, delay_ms: str, loss_percent: str) -> None:
    delay, loss = float(delay_ms) / 1000, float(loss_percent) / 100
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
            ways[descriptor].take(delay, loss)


if __name__ == "__main__":
    main(*sys.argv[1:])
