import os
from pathlib import Path

import pytest
from p2p_core.errors import UsageError
from p2p_server.files import place, read


def test_what_is_placed_is_read(tmp_path: Path) -> None:
    place(tmp_path / "file", b"content", 0o640)
    place(tmp_path / "file", b"other content", 0o600)
    assert read(tmp_path / "file") == b"other content"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_nothing_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(10**8)
    for path, why in (
        (tmp_path / "pipe", "it is not a regular file"),
        (tmp_path, "it is a folder"),
        (Path("/dev/zero"), "it is not a regular file"),
        (tmp_path / "large", "it is too large for a PEM file"),
        (tmp_path / "missing", "No such file or directory"),
    ):
        with pytest.raises(UsageError) as caught:
            read(path)
        assert str(caught.value) == f"cannot read {path}: {why}"
