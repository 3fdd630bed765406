"""Python's garbage collector, told not to hold up ten thousand peers.

A full collection looks at every object there is: a second for ten thousand streams, in which nobody is matched, and
Python makes one each time a quarter more objects have come. What a stream leaves behind is freed without it:
docs/decisions/mediator-cost.md.
"""

import gc

__all__ = ["collect_rarely"]

# Of new objects, of collections of these, and of collections of what outlived two of them. The first two take
# milliseconds each, and a hundredth of the time in all; a full one comes after two million pairs or so, in place of each
# few thousand.
_THRESHOLDS = (5_000, 5, 10_000)


def collect_rarely() -> None:
    """Collect what is young in small portions, and hardly ever everything."""
    gc.set_threshold(*_THRESHOLDS)
