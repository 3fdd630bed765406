"""The comparison of paths: what it prints, and that it fails when a peer does."""

import json
from pathlib import Path

import pytest
from p2p_core.proof import PathKind

from benchmarks.paths import send, tcp_ends, udp_ends
from benchmarks.transfer import CopyFailed
from tests.benchmarks.conftest import run

TINY = ("--size", "1", "--rounds", "1")


def test_it_compares_all_paths(tmp_path: Path) -> None:
    done = run("paths.py", *TINY, "--folder", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["size"] == 2**20
    assert data["seconds"].keys() == data["bytes_per_second"].keys()
    assert {"TCP", "QUIC"} <= data["seconds"].keys()
    for name, (seconds,) in data["seconds"].items():
        assert data["bytes_per_second"][name]["median"] == 2**20 / seconds > 0
    assert list(tmp_path.iterdir()) == []


def test_it_prints_a_table(tmp_path: Path) -> None:
    done = run("paths.py", *TINY, "--folder", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"1 MiB on loopback, files in {tmp_path}; 1 rounds in turn")
    assert [line.split("  ")[0] for line in lines[2:5]] == ["path", "TCP", "QUIC"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = run("paths.py", *TINY, "--folder", tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the benchmark failed: " in done.stderr


@pytest.mark.parametrize("kind", [PathKind.TCP, PathKind.QUIC])
def test_a_source_that_cannot_be_sent(kind: PathKind, tmp_path: Path) -> None:
    with pytest.raises(CopyFailed, match="the peers ended with the exit codes 1 and 1"):
        send(kind, tcp_ends if kind is PathKind.TCP else udp_ends, tmp_path / "missing", tmp_path / "copy")
