"""What outlives a power cut: a file system put on its disk; and which start of the computer this is."""

import ctypes
import os
import sys
from pathlib import Path

__all__ = ["boot_id", "sync_file_system"]

_LINUX_BOOT = Path("/proc/sys/kernel/random/boot_id")  # proc_sys_kernel_random(5)
_MACOS_BOOT = b"kern.bootsessionuuid"
_MAX_BOOT = 64  # bytes; both are UUIDs in text


def boot_id() -> bytes:
    """Return what the computer calls the time since it was started; empty when it has no name for it."""
    if sys.platform == "darwin":
        value, size = ctypes.create_string_buffer(_MAX_BOOT), ctypes.c_size_t(_MAX_BOOT)
        failed = ctypes.CDLL(None).sysctlbyname(_MACOS_BOOT, value, ctypes.byref(size), None, ctypes.c_size_t(0))
        return b"" if failed else value.value
    try:
        return _LINUX_BOOT.read_bytes().strip()[:_MAX_BOOT]
    except OSError:
        return b""


def sync_file_system(descriptor: int) -> None:
    """Put everything on the disk that was written to the file system of an open file. Raises `OSError`.

    It takes as long as the disk does, other programs' data included. One call is much quicker than an fsync for each of
    thousands of small files, and reaches those that an earlier process wrote.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None, use_errno=True)
        if library.syncfs(descriptor):  # syncfs(2)
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    else:
        os.sync()
