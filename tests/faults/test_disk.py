"""A full disk takes no page more, from who has a file open there either; and all of it comes back."""

import errno
import os
from pathlib import Path

import pytest

from tests.faults.disk import Disk

pytestmark = pytest.mark.netns  # which takes the rights to mount, too


def test_full_and_free(tmp_path: Path) -> None:
    with Disk.mounted(tmp_path / "disk", 1) as disk, (disk.folder / "log").open("wb", buffering=0) as file:
        file.write(b"before")
        disk.fill()
        assert file.write(bytes(8192)) < os.sysconf("SC_PAGE_SIZE")  # what is left of the page that it has begun
        with pytest.raises(OSError, match="No space") as caught:
            file.write(bytes(1))
        assert caught.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="No space"):
            (disk.folder / "other").write_bytes(b"content")
        disk.free()
        file.write(bytes(500_000))
    assert list((tmp_path / "disk").iterdir()) == []
