"""The comparison of rates: what it prints, and that it fails when a copy does."""

import json
from pathlib import Path

import pytest

from benchmarks import transfer
from benchmarks.temporary_sshd import SshFailed, TemporarySshd, missing_programs
from benchmarks.transfer import Contestant, CopyFailed, PunchwireCopies, Sent, race, send_plainly
from tests.benchmarks.conftest import run
from tests.programs import ProgramFailed, Programs

TINY = ("--size", "1", "--rounds", "1")

needs_sshd = pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}")


def test_it_compares_with_a_plain_socket(tmp_path: Path) -> None:
    done = run("transfer.py", *TINY, "--folder", tmp_path, "--without-scp", "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert data["size"] == 2**20
    assert data["folder"] == str(tmp_path)
    (ours,), (plain,) = data["sent"]["Punchwire"], data["sent"]["plain socket"]
    for sent in (ours, plain):
        assert 0 < sent["seconds"] < sent["wall"]
    for heading, figure in (("file alone", "seconds"), ("whole command", "wall")):
        assert data["punchwire_is_times"][heading].keys() == {"plain socket"}
        assert data["punchwire_is_times"][heading]["plain socket"]["median"] == plain[figure] / ours[figure]
    assert list(tmp_path.iterdir()) == []


@needs_sshd
def test_it_compares_with_scp(tmp_path: Path) -> None:
    done = run("transfer.py", *TINY, "--folder", tmp_path)
    if "account is locked" in done.stderr:
        pytest.skip("sshd lets nobody in whose account has no password")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"1 MiB on loopback, files in {tmp_path}; 1 rounds in turn")
    assert [line.split("  ")[0] for line in lines[2:]] == [
        *("file alone", "Punchwire", "plain socket", "scp", ""),
        *("whole command", "Punchwire", "plain socket", "scp"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = run("transfer.py", *TINY, "--folder", tmp_path / "nowhere", "--without-scp")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the benchmark failed: " in done.stderr


def test_without_an_sshd_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transfer, "missing_programs", lambda: ["sshd"])
    assert transfer.main(TINY) == 1
    said = capsys.readouterr().err
    assert "not installed: sshd" in said
    assert "openssh-server" in said
    assert "--without-scp" in said


@pytest.mark.parametrize("copied", [None, b"", b"something else"])
def test_a_copy_that_is_not_the_source(tmp_path: Path, copied: bytes | None) -> None:
    def send(source: Path, copy: Path) -> Sent:
        if copied is not None:
            copy.write_bytes(copied)
        return Sent(1, 1)

    with pytest.raises(CopyFailed, match="made by somebody is not what was sent"):
        race([Contestant("somebody", send)], tmp_path, 2**20, 1)


def test_a_source_that_cannot_be_sent(programs: Programs, tmp_path: Path) -> None:
    missing, copy = tmp_path / "missing", tmp_path / "inbox" / "missing"
    copy.parent.mkdir()
    with pytest.raises(CopyFailed):
        send_plainly(missing, copy)
    with pytest.raises(ProgramFailed, match="alice ended"):
        PunchwireCopies(tmp_path, programs).send(missing, copy)


@needs_sshd
def test_what_scp_cannot_copy(programs: Programs, tmp_path: Path) -> None:
    sshd = programs.enter_context(TemporarySshd(tmp_path / "ssh"))
    with pytest.raises(SshFailed, match="scp ended with exit code"):
        sshd.copy(tmp_path / "missing", tmp_path / "copy")


@needs_sshd
def test_an_sshd_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.temporary_sshd._SETTINGS", "NoSuchSetting yes\n")
    with pytest.raises(SshFailed, match="NoSuchSetting"), TemporarySshd(tmp_path / "ssh"):
        pass
