"""The comparison of rates: what it prints, and that it fails when a copy does."""

import json
from pathlib import Path

import pytest

from benchmarks import transfer
from benchmarks.contestants import Contestant, CopyFailed, Job
from benchmarks.sources import MIB
from benchmarks.transfer import CASES, race
from tests.benchmarks.conftest import run
from tests.programs import Programs

TINY = ("--size", "2", "--files", "30", "--rounds", "1")
PLAIN = ("--contestants", "tcp,socket")


class Somebody(Contestant):
    """Copies what it is told to."""

    def __init__(self, content: bytes | None) -> None:
        self._content = content

    def copy(self, job: Job) -> float:
        if not job.source.bytes:
            job.target.touch()
        elif self._content is not None:
            job.target.write_bytes(self._content)
        return 1.0


def test_it_measures_every_case(tmp_path: Path) -> None:
    done = run("transfer.py", *TINY, *PLAIN, "--folder", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    data = json.loads(done.stdout)
    assert (data["folder"], data["rounds"]) == (str(tmp_path), 1)
    assert data["cases"].keys() == CASES.keys()
    for name, case in data["cases"].items():
        ours, plain = case["contestants"]["Punchwire TCP"], case["contestants"]["plain socket"]
        for one in (ours, plain):
            (copied,) = one["copied"]
            assert 0 < one["seconds"][0] < copied["cost"]["wall"]
            assert copied["cost"]["cpu"] > 0
            assert copied["in_place"] == (name == "in-place")
        assert ours["punchwire_is_times"] == {"seconds": None, "wall": None}
        assert plain["punchwire_is_times"]["seconds"]["median"] == plain["seconds"][0] / ours["seconds"][0]
    assert [data["cases"][name]["bytes"] for name in ("in-place", "fresh", "small")] == [2**21, 2**21, 30 * 4096]
    assert list(tmp_path.iterdir()) == []


def test_it_prints_a_table_for_each_case(tmp_path: Path) -> None:
    done = run("transfer.py", *TINY, *PLAIN, "--folder", tmp_path, "--cases", "small,fresh")
    assert done.returncode == 0, done.stderr
    paragraphs = done.stdout.split("\n\n")
    assert paragraphs[0].startswith(f"On loopback, files in {tmp_path}; 1 rounds in turn")
    assert [paragraph.splitlines()[0].split(":")[0] for paragraph in paragraphs[1:]] == ["fresh", "small"]
    for paragraph in paragraphs[1:]:
        assert [line.split("  ")[0] for line in paragraph.splitlines()[1:]] == ["who", "Punchwire TCP", "plain socket"]


@pytest.mark.parametrize("copied", [None, b"", b"something else"])
def test_a_copy_that_is_not_the_source(tmp_path: Path, copied: bytes | None) -> None:
    with pytest.raises(CopyFailed, match="made by somebody is not what was sent: "):
        race(CASES["fresh"], {"somebody": Somebody(copied)}, tmp_path, size=MIB, files=1, rounds=1)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    done = run("transfer.py", *TINY, *PLAIN, "--folder", tmp_path / "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the benchmark failed: " in done.stderr


def test_who_cannot_be_had_is_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], programs: Programs, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.temporary_sshd.missing_programs", lambda: ["sshd"])
    monkeypatch.setattr("benchmarks.wormhole.install", lambda: "no network")
    assert list(transfer.gather(["socket", "scp", "tar", "wormhole"], tmp_path, programs)) == ["socket"]
    assert capsys.readouterr().err.splitlines() == [
        f"{who} is left out, as this is not installed: {why}"
        for who, why in (
            ("scp aes128-gcm", "sshd: Debian and Ubuntu have them in openssh-server and openssh-client"),
            ("tar | ssh tar", "sshd: Debian and Ubuntu have them in openssh-server and openssh-client"),
            ("magic-wormhole", "magic-wormhole: no network"),
        )
    ]


@pytest.mark.parametrize("arguments", [("--cases", "huge"), ("--contestants", "tcp,pigeon"), ("--contestants", "")])
def test_what_is_no_case_or_contestant(arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        transfer._parse(arguments)
    assert "is none of" in capsys.readouterr().err
