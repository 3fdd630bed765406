from dataclasses import replace

import pytest
from p2p_core.proof import PathKind
from p2p_peer.cli.progress_lines import ProgressLines
from p2p_peer.events import Phase, TransferProgress, TransferStalled
from wcwidth import wcswidth

WIDE = 200
BEGIN = TransferProgress(1, True, "film.mkv", Phase.MOVING, 0, 2000, 0, 0.0)


def line(lines: ProgressLines, progress: TransferProgress, columns: int = WIDE, path: PathKind = PathKind.TCP) -> str:
    return lines.progressed(progress, path, columns)


def test_a_file_on_its_way() -> None:
    lines = ProgressLines()
    assert line(lines, BEGIN) == "sending film.mkv [..........]   0% of 2.0 kB"
    assert line(lines, replace(BEGIN, bytes=1000, moved=500, seconds=2.0)) == (
        "sending film.mkv [#####.....]  50% of 2.0 kB, 250 B/s over TCP, 0:04 left"
    )
    assert line(lines, replace(BEGIN, bytes=1999, moved=1499, seconds=4.0)) == (
        "sending film.mkv [#########.]  99% of 2.0 kB, 375 B/s over TCP, 0:00 left"
    )
    assert line(lines, replace(BEGIN, bytes=2000, moved=1500, seconds=4.0, phase=Phase.VERIFYING)) == (
        "sending film.mkv [##########] 100% of 2.0 kB, verifying"
    )


@pytest.mark.parametrize(
    ("kind", "says"), [(PathKind.TCP, "over TCP"), (PathKind.QUIC, "over QUIC"), (PathKind.RELAY, "relayed")]
)
def test_which_path_it_takes(kind: PathKind, says: str) -> None:
    lines = ProgressLines()
    line(lines, BEGIN)
    assert f", 10 B/s {says}, " in line(lines, replace(BEGIN, bytes=10, moved=10, seconds=1.0), path=kind)


@pytest.mark.parametrize(
    ("phase", "says"),
    [
        (Phase.WAITING, "sending film.mkv: waiting for acceptance"),
        (Phase.HASHING, "sending film.mkv [##........]  25% of 2.0 kB, hashing"),
        (Phase.VERIFYING, "sending film.mkv [##........]  25% of 2.0 kB, verifying"),
    ],
)
def test_what_it_does_when_nothing_moves(phase: Phase, says: str) -> None:
    assert line(ProgressLines(), replace(BEGIN, phase=phase, bytes=500)) == says


def test_a_stream_has_no_end_to_show() -> None:
    lines, stream = ProgressLines(), replace(BEGIN, outgoing=False, label="standard input", total=None)
    assert line(lines, stream) == "receiving standard input: 0 B"
    assert line(lines, replace(stream, bytes=3000, moved=3000, seconds=2.0)) == (
        "receiving standard input: 3.0 kB, 1.5 kB/s over TCP"
    )
    assert line(lines, replace(stream, bytes=3000, phase=Phase.VERIFYING)) == (
        "receiving standard input: 3.0 kB, verifying"
    )


def test_nothing_but_empty_files() -> None:
    assert line(ProgressLines(), replace(BEGIN, total=0)) == "sending film.mkv [##########] 100% of 0 B"


def test_a_stall() -> None:
    lines = ProgressLines()
    stalled = TransferStalled(1, "film.mkv", 12.3)
    assert lines.stalled(stalled, WIDE) is None
    line(lines, replace(BEGIN, bytes=500))
    assert lines.transfers == (1,)
    assert lines.stalled(stalled, WIDE) == "sending film.mkv [##........]  25% of 2.0 kB, stalled for 12 s"
    lines.over(1)
    assert lines.transfers == ()
    assert lines.stalled(stalled, WIDE) is None


@pytest.mark.parametrize("label", ["a" * 100, "語" * 40, "é" * 80, "\x1b[31m" * 10, "photos/ (1204 files)"])
@pytest.mark.parametrize("columns", [1, 20, 40, 60, 79, 120])
def test_it_is_never_wider_than_the_terminal(label: str, columns: int) -> None:
    lines = ProgressLines()
    line(lines, replace(BEGIN, label=label))
    shown = line(lines, replace(BEGIN, label=label, bytes=1000, moved=500, seconds=2.0), columns)
    assert wcswidth(shown) <= columns
    assert shown.isprintable()
    if columns >= 79:
        assert shown.endswith("% of 2.0 kB, 250 B/s over TCP, 0:04 left")
