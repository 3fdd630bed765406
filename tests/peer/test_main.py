import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from p2p_core.identity import public_pem
from p2p_peer.cli import keys, run
from p2p_peer.cli.main import main

from tests.keys import key


def test_each_command_has_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def running(name: str, code: int) -> object:
        def command(options: argparse.Namespace) -> int:
            ran.append(f"{name} {options.command}")
            return code

        return command

    monkeypatch.setattr(run, "run", running("run", 5))
    monkeypatch.setattr(keys, "keygen", running("keygen", 6))
    monkeypatch.setattr(keys, "fingerprint", running("fingerprint", 7))
    assert main(["host", "1", "key", "peer"]) == 5
    assert main(["keygen", "DIR"]) == 6
    assert main(["fingerprint", "KEY"]) == 7
    assert main(["token"]) == 5
    assert main(["direct", "-v"]) == 5
    assert ran == ["run chat", "keygen keygen", "fingerprint fingerprint", "run token", "run direct"]


def test_without_arguments_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["p2p-peer", "--version"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0


# As a process.


def program(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "p2p_peer.cli.main", *arguments], text=True, timeout=60, check=False, **options
    )


def test_the_process_ends_with_the_code(tmp_path: Path) -> None:
    done = program("fingerprint", str(tmp_path / "nothing"), capture_output=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("p2p-peer: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_empty_ones(tmp_path: Path, closed: str) -> None:
    """And nothing that is opened later takes their place."""
    (tmp_path / "public.pem").write_bytes(public_pem(key(0).public_key()))
    command = f'exec "$0" -m p2p_peer.cli.main fingerprint "$1" {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, str(tmp_path / "public.pem")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "public.pem").write_bytes(public_pem(key(0).public_key()))
    with Path("/dev/full").open("wb") as full:
        done = program("fingerprint", str(tmp_path / "public.pem"), stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1
    assert done.stderr == "p2p-peer: the output cannot be written: No space left on device\n"


def test_whoever_has_read_enough_need_not_be_told(tmp_path: Path) -> None:
    (tmp_path / "public.pem").write_bytes(public_pem(key(0).public_key()))
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "wb") as gone:
        done = program("fingerprint", str(tmp_path / "public.pem"), stdout=gone, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "")


def test_an_encoding_that_is_too_small(tmp_path: Path) -> None:
    done = program(
        "fingerprint", str(tmp_path / "caf\u00e9"), capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 2
    assert "caf\\xe9" in done.stderr
