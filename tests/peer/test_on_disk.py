import os
import re
from pathlib import Path

import pytest
from p2p_peer.transfer import on_disk


def test_the_boot_has_one_name_until_the_next() -> None:
    assert re.fullmatch(rb"[0-9a-fA-F-]{36}", on_disk.boot_id())
    assert on_disk.boot_id() == on_disk.boot_id()


def test_without_a_name_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(on_disk.sys, "platform", "linux")
    monkeypatch.setattr(on_disk, "_LINUX_BOOT", tmp_path / "nothing there")
    assert on_disk.boot_id() == b""


def test_a_file_system_is_synced(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(b"x")
        on_disk.sync_file_system(file.fileno())


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="only Linux syncs one file system alone")
def test_a_sync_that_fails_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        on_disk.sync_file_system(-1)
