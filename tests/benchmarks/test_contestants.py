"""Each way to copy, once, and what it says when it cannot."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.contestants import Contestant, CopyFailed, Job, PlainSocket, Punchwire, Rsync, Scp, TarOverSsh, run
from benchmarks.sources import MIB, Source, large_file, mixed_folder, write_over
from benchmarks.temporary_sshd import SshFailed, TemporarySshd, find, missing_programs
from tests.programs import Programs

SIZE = 2 * MIB + 1

needs_sshd = pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}")
needs_rsync = pytest.mark.skipif(find("rsync") is None, reason="not installed: rsync")


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[TemporarySshd]:
    with TemporarySshd(tmp_path / "an sshd") as sshd:
        try:
            run([*sshd.command("ssh", None), "benchmark", "true"])
        except CopyFailed:
            sshd.settle()
            if "account is locked" in sshd.last_words():
                pytest.skip("sshd lets nobody in whose account has no password")
            raise
        yield sshd


def job(source: Source, folder: Path, *, in_place: bool = False) -> Job:
    made = Job(source, folder / "in box", in_place)
    made.inbox.mkdir()
    if in_place:
        write_over(made.target, SIZE + 5)
    return made


def assert_copies(contestant: Contestant, tmp_path: Path, *, in_place: bool = True) -> None:
    """A tree into an empty folder, and a file over a longer one."""
    for number, source in enumerate((mixed_folder(tmp_path, MIB, 60), large_file(tmp_path, SIZE))):
        if source.is_tree or not contestant.for_trees_only:
            (tmp_path / str(number)).mkdir()
            one = job(source, tmp_path / str(number), in_place=not source.is_tree)
            there_before = one.target.stat().st_ino if one.in_place else None
            assert contestant.copy(one) >= 0
            contestant.settle()
            assert source.difference(one.target, contestant.keeps) == ""
            assert not one.in_place or not in_place or one.target.stat().st_ino == there_before


@pytest.mark.parametrize("path", ["tcp", "quic", "relay"])
def test_punchwire(path: str, programs: Programs, tmp_path: Path) -> None:
    assert_copies(Punchwire.on_each_path(tmp_path / "punchwire", programs)[path], tmp_path)


def test_a_plain_socket(tmp_path: Path) -> None:
    assert_copies(PlainSocket(), tmp_path)


@needs_sshd
@pytest.mark.parametrize("contestant", [Scp, TarOverSsh, pytest.param(Rsync, marks=needs_rsync)])
def test_what_goes_over_ssh(contestant: type[Scp | TarOverSsh | Rsync], sshd: TemporarySshd, tmp_path: Path) -> None:
    assert_copies(contestant(sshd), tmp_path)


@needs_sshd
def test_ssh_with_its_own_choice_of_a_cipher(sshd: TemporarySshd, tmp_path: Path) -> None:
    assert_copies(Scp(sshd, cipher=None), tmp_path)


def test_a_source_that_cannot_be_sent(programs: Programs, tmp_path: Path) -> None:
    gone = job(large_file(tmp_path, SIZE), tmp_path)
    gone.source.path.unlink()
    with pytest.raises(CopyFailed, match="No such file"):
        PlainSocket().copy(gone)
    with pytest.raises(CopyFailed, match="alice ended"):
        Punchwire.on_each_path(tmp_path / "punchwire", programs)["tcp"].copy(gone)


@needs_sshd
@pytest.mark.parametrize("contestant", [Scp, TarOverSsh, pytest.param(Rsync, marks=needs_rsync)])
def test_what_ssh_cannot_copy(contestant: type[Scp | TarOverSsh | Rsync], sshd: TemporarySshd, tmp_path: Path) -> None:
    gone = job(large_file(tmp_path, SIZE), tmp_path)
    gone.source.path.unlink()
    with pytest.raises(CopyFailed, match="ended with exit code"):
        contestant(sshd).copy(gone)


@needs_sshd
def test_an_sshd_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.temporary_sshd._SERVER", "NoSuchSetting yes\n")
    with pytest.raises(SshFailed, match="NoSuchSetting"), TemporarySshd(tmp_path / "ssh"):
        pass


def test_a_program_that_is_not_there() -> None:
    with pytest.raises(CopyFailed, match="no-such-program"):
        run(["no-such-program"])
