"""Python's garbage collector, told not to hold up ten thousand peers.

A full collection looks at every object there is: half a second for ten thousand streams, in which nobody is matched,
and Python makes one each time a quarter more objects have come. A stream is freed without it, but for a few small
objects of grpc.aio's, some 300 bytes: docs/decisions/mediator-cost.md.
"""

import gc

__all__ = ["collect_rarely"]

# New objects, less those that were freed, before the young are collected; such collections before those that outlived
# one are; and collections of these before a full one: half a million objects, 45 MiB, which 150 000 streams leave.
_THRESHOLDS = (5_000, 5, 20)


def collect_rarely() -> None:
    """Collect what is young in small portions, and everything seldom."""
    gc.set_threshold(*_THRESHOLDS)
