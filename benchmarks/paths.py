#!/usr/bin/env python3
"""How fast is a file sent over each kind of path? TCP and QUIC in turn, and their ratio.

    benchmarks/paths.py [--size MIB] [--rounds N] [--folder DIR] [--json]

Two real processes on loopback, each with one side of a session; the path between them stands before they start.
Each copy is a fresh file and is compared with the source. benchmarks/README.md says what the figures mean.
"""

import argparse
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from p2p_core.proof import PathKind, Role

from benchmarks import path_peer, transfer
from benchmarks.figures import Spread, as_table, end_in_order, machine, positive
from benchmarks.transfer import PATIENCE, Contestant, CopyFailed, Sent, race
from tests.programs import end

LOOPBACK = "127.0.0.1"
BUFFER = 4 * 1024 * 1024  # bytes asked of the system for a UDP socket, as for a punched one

Ends = tuple[socket.socket, socket.socket]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table; return the exit code."""
    options = _parse(arguments)
    size = options.size * transfer.MIB
    end_in_order()
    contestants = [
        Contestant("TCP", lambda source, copy: send(PathKind.TCP, tcp_ends, source, copy)),
        Contestant("QUIC", lambda source, copy: send(PathKind.QUIC, udp_ends, source, copy)),
    ]
    try:
        where = options.folder or transfer.roomy_folder(size)
        with tempfile.TemporaryDirectory(prefix="punchwire-paths-", dir=where) as folder:
            race(contestants, Path(folder), size, options.rounds)
    except (CopyFailed, OSError) as failure:
        print(f"the benchmark failed: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(
        json.dumps(_as_data(contestants, size, where), indent=2) if options.json else _as_text(contestants, size, where)
    )
    return 0


def tcp_ends() -> Ends:
    """Two ends of a connection."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    for sock in (ours, theirs):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ours, theirs


def udp_ends() -> Ends:
    """Two sockets."""
    ours, theirs = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    for sock in (ours, theirs):
        sock.bind((LOOPBACK, 0))
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    return ours, theirs


def send(kind: PathKind, make_ends: Callable[[], Ends], source: Path, copy: Path) -> Sent:
    """Let the initiator send `source` to the responder over a fresh path."""
    with ExitStack() as stack:
        ours, theirs = (stack.enter_context(sock) for sock in make_ends())
        receiver = _start(kind, Role.RESPONDER, theirs, ours, ["receive", copy.parent])
        stack.callback(end, receiver)
        sender = _start(kind, Role.INITIATOR, ours, theirs, ["send", source])
        stack.callback(end, sender)
        said = [process.communicate(timeout=PATIENCE)[0] for process in (sender, receiver)]
        if sender.returncode or receiver.returncode:
            raise CopyFailed(f"the peers ended with the exit codes {sender.returncode} and {receiver.returncode}")
    seconds = max(map(float, said))
    return Sent(seconds, seconds)


def _start(
    kind: PathKind, role: Role, own: socket.socket, other: socket.socket, task: Sequence[object]
) -> "subprocess.Popen[str]":
    host, port = other.getsockname()
    argv = [sys.executable, path_peer.__file__, kind.value, role.value, own.fileno(), host, port, *task]
    return subprocess.Popen(list(map(str, argv)), stdout=subprocess.PIPE, text=True, pass_fds=[own.fileno()])


def _rate(contestant: Contestant, size: int) -> Spread:
    return Spread.of(size / sent.seconds for sent in contestant.sent)


def _as_text(contestants: Sequence[Contestant], size: int, where: Path) -> str:
    on, rounds = machine(), len(contestants[0].sent)
    heading = (
        f"{size // transfer.MIB} MiB on loopback, files in {where}; {rounds} rounds in turn, median (min–max); "
        f"{on['processors']} processors, {on['system']}, Python {on['python']}"
    )
    rows = [
        (it.name, Spread.of(sent.seconds for sent in it.sent).text(3), _rate(it, size).text(0, 1e6))
        for it in contestants
    ]
    return f"{heading}\n\n{as_table(('path', 'seconds', 'MB/s'), rows)}"


def _as_data(contestants: Sequence[Contestant], size: int, where: Path) -> dict[str, object]:
    return {
        "size": size,
        "folder": str(where),
        "machine": machine(),
        "seconds": {it.name: [sent.seconds for sent in it.sent] for it in contestants},
        "bytes_per_second": {it.name: asdict(_rate(it, size)) for it in contestants},
    }


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare the rate of one file over each kind of path.")
    parser.add_argument("--size", metavar="MIB", type=positive, default=256, help="size of the file in MiB (256)")
    parser.add_argument("--rounds", metavar="N", type=positive, default=5, help="rounds that count (5)")
    parser.add_argument(
        "--folder", metavar="DIR", type=Path, help=f"where the files are ({transfer.MEMORY} if they fit)"
    )
    parser.add_argument("--json", action="store_true", help="print data")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
