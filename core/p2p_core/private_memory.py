"""Keeping the memory of a process, in which private keys are, out of files and of other programs' reach.

Both programs begin with it. It is here because neither may know the other, and does no I/O: it only tells the system
about this process. A program that uses our library decides for itself.
"""

import contextlib
import resource
import sys

__all__ = ["keep_memory_private"]

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def keep_memory_private() -> None:
    """Let nothing write this process's memory to a core file; on Linux, let no other process of its user read it.

    A limit of 0 bytes is enough for files (setrlimit(2)), but a dump that goes to a program, as to systemd-coredump or
    apport, does not heed it (core(5)). A process that is not dumpable has neither, and its /proc/PID/mem, environ and
    fd are only for those who may trace any process (PR_SET_DUMPABLE, prctl(2)). Programs that it starts are as ever,
    but for the limit. Where a sandbox forbids either, or Python has no ctypes, the other one has to do.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with contextlib.suppress(ImportError):
            import ctypes  # 5 ms, and of no use elsewhere

            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
