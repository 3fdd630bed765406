"""Python's garbage collector, told not to hold up ten thousand peers.

A full collection looks at every object there is: a second for ten thousand streams, in which nobody is matched, and
Python makes one each time a quarter more objects have come. What a stream leaves behind is freed without it:
docs/decisions/mediator-cost.md.
"""

import gc

__all__ = ["collect_rarely"]

# New objects before the young are collected, such collections before those that outlived one are, and collections of
# these before a full one: by the objects that a pair makes, after two million pairs instead of a few thousand.
_THRESHOLDS = (5_000, 5, 10_000)


def collect_rarely() -> None:
    """Collect what is young in small portions, and hardly ever everything."""
    gc.set_threshold(*_THRESHOLDS)
