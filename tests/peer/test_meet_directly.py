"""`p2p-peer direct` up to the session: which keys, what is missing until then, and meeting again."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import (
    KeyLocked,
    KeyUnfit,
    NoPath,
    NotAdmitted,
    PeerDidNotCome,
    PunchwireError,
    TransferFailed,
    UsageError,
)
from p2p_core.identity import PeerId, private_pem, public_pem
from p2p_core.proof import PathKind
from p2p_peer.cli import comeback, meet_directly, preflight
from p2p_peer.cli.parser import parse
from p2p_peer.cli.run import _Run
from p2p_peer.events import Authenticated, Listening, PathFound
from p2p_peer.options import ConnectOptions
from p2p_peer.serverless.direct import DirectMode

from tests.keys import key
from tests.peer.fake_session import ADDRESS, FakeSession
from tests.peer.pair import soon, until
from tests.peer.scene import Said, TypedLines

PEER = PeerId.of(key(1).public_key())


class FakeDirect:
    """Stands for `connect_direct`: each call takes the next outcome, and waits if there is none."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.outcomes: list[FakeSession | PunchwireError] = []

    async def connect(self, key: Any, *, notify: Callable[[Any], None], **told: Any) -> Any:
        self.told.append({"key": key, **told})
        notify(Listening((ADDRESS,)))
        if not self.outcomes:
            await asyncio.Event().wait()
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, PunchwireError):
            raise outcome
        notify(PathFound(PathKind.TCP, ADDRESS, ""))
        notify(Authenticated(0.1))
        return outcome


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> FakeDirect:
    direct = FakeDirect()
    monkeypatch.setattr(meet_directly, "connect_direct", direct.connect)
    return direct


Command = Callable[..., argparse.Namespace]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Parse a command line in a folder with good keys."""
    for name, pair in (("key.pem", key(0)), ("state/identity/key.pem", key(2))):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(private_pem(pair))
        path.chmod(0o600)
    (tmp_path / "own.pem").write_bytes(public_pem(key(0).public_key()))
    (tmp_path / "peer.pem").write_bytes(public_pem(key(1).public_key()))
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: parse(["direct", "--state-dir", "state", "--message", "hi", *arguments])


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        yield


class Running:
    """A run whose console is a list of lines."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.said = Said()
        self.lines = TypedLines(self.said.notices)
        self.run = _Run(options, self.said, self.lines, self.lines)  # type: ignore[arg-type]
        self.task = asyncio.create_task(self.run.run())

    async def end(self) -> None:
        await soon(self.task)


async def test_what_connecting_is_told(command: Command, direct: FakeDirect) -> None:
    flags = "-i 127.0.0.1 -p 9 -t host -r 10 -m 1 -k key.pem -c own.pem --wait 5 --ipv4"
    running = Running(command(*flags.split()))
    await until(lambda: bool(direct.told))
    [told] = direct.told
    assert told.pop("key").private_numbers() == key(0).private_numbers()
    assert told == {
        "target": "host",
        "remote_port": 10,
        "host": "127.0.0.1",
        "port": 9,
        "mode": DirectMode.CONNECT,
        "peer_key": None,
        "require_known": False,
        "options": ConnectOptions(wait=5, ip_version=4, state_dir=Path("state"), port_mapping=False),
    }
    running.task.cancel()


async def test_whom_to_believe(command: Command, direct: FakeDirect) -> None:
    running = Running(command("--peer-key", "peer.pem", "--require-known"))
    await until(lambda: bool(direct.told))
    [told] = direct.told
    assert (told["peer_key"], told["require_known"]) == (PEER, True)
    assert told["key"].private_numbers() == key(2).private_numbers()  # the one that is kept
    assert running.said.notices == []
    running.task.cancel()


async def test_a_key_pair_is_made_once(
    command: Command, direct: FakeDirect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "new_key", lambda: key(3))
    made = (
        "made a key pair for you, which is kept in new/identity/key.pem; "
        "your public key, to give to others: new/identity/public.pem"
    )
    for said in ([made], []):
        running = Running(command("--state-dir", "new"))
        await until(lambda: bool(direct.told))
        assert direct.told.pop()["key"].private_numbers() == key(3).private_numbers()
        assert running.said.notices == said
        running.task.cancel()
    assert (tmp_path / "new/identity/public.pem").read_bytes() == public_pem(key(3).public_key())


@pytest.mark.parametrize(
    ("flags", "error", "why"),
    [
        (["-k", "key.pem", "-c", "peer.pem"], KeyUnfit, "peer.pem does not belong to the key pair key.pem"),
        (["-c", "own.pem"], UsageError, "-c is the certificate of the key pair of -k"),
        (["-k", "own.pem"], PunchwireError, "own.pem"),
        (["-t", "host:1", "-r", "2"], UsageError, "-t names port 1, and -r port 2"),
        (["--peer-key", "missing.pem"], PunchwireError, "missing.pem"),
    ],
)
async def test_keys_that_do_not_fit(
    command: Command, direct: FakeDirect, flags: list[str], error: type[PunchwireError], why: str
) -> None:
    with pytest.raises(error, match=why):
        Running(command(*flags))
    assert direct.told == []


async def test_a_locked_key_that_is_kept(command: Command, direct: FakeDirect, tmp_path: Path) -> None:
    (tmp_path / "state/identity/key.pem").write_bytes(private_pem(key(2), b"secret"))
    with pytest.raises(KeyLocked):
        Running(command())


@pytest.mark.parametrize(
    ("flags", "who"), [([], "the other peer"), (["--peer-key", "peer.pem"], f"the other peer ({PEER.short})")]
)
async def test_a_timeout_says_what_was_missing(
    command: Command, direct: FakeDirect, flags: list[str], who: str
) -> None:
    with pytest.raises(PeerDidNotCome) as caught:
        await Running(command(*flags, "--timeout", "0.05")).end()
    assert str(caught.value) == f"{who} did not come within 0.05 s (--timeout)"


@pytest.mark.parametrize(
    ("flags", "advice", "other"),
    [(["-t", "host"], "-t and -r", "-p"), ([], "-p", "-t and -r"), (["-m", "2"], "-p", "-t and -r")],
)
async def test_a_timeout_advises_whoever_dials_and_whoever_listens(
    command: Command, direct: FakeDirect, flags: list[str], advice: str, other: str
) -> None:
    with pytest.raises(PeerDidNotCome) as caught:
        await Running(command(*flags, "--timeout", "0.05")).end()
    assert f" {advice} " in caught.value.advice.replace(",", " ")
    assert f" {other} " not in caught.value.advice.replace(",", " ")


async def test_an_errand_meets_again(command: Command, direct: FakeDirect, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long nobody answers there; whoever goes when it is dialled looks like one that lets nobody in."""
    monkeypatch.setattr(comeback, "_FIRST_PAUSE", 0.001)
    first, second = FakeSession(), FakeSession()
    direct.outcomes = [first, NoPath("Connection refused"), NotAdmitted("turned away"), second]
    running = Running(command("--send", "key.pem"))
    await until(lambda: bool(first.messages))
    first.acknowledge()
    await until(lambda: bool(first.sendings))
    first.lose()
    await until(lambda: bool(second.sendings))
    assert running.said.losses == ["no path any more"]
    second.sendings[0].stored()
    second.leave()
    await running.end()
    assert [told["peer_key"] for told in direct.told] == [None, first.peer, first.peer, first.peer]  # and nobody else


async def test_whoever_does_not_come_back_is_not_dialled_for_ever(
    command: Command, direct: FakeDirect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But as long as --wait says, each time that it is lost."""
    session = FakeSession()
    direct.outcomes = [session, NoPath("cannot reach it within 5 s")]
    running = Running(command("--send", "key.pem", "--wait", "5"))
    await until(lambda: bool(session.messages))
    session.acknowledge()
    await until(lambda: bool(session.sendings))
    session.lose()
    with pytest.raises(TransferFailed) as caught:
        await running.end()
    assert "did not come back: cannot reach it within 5 s" in str(caught.value)
    assert [told["options"].wait for told in direct.told] == [5, 5]


@pytest.mark.parametrize(
    ("flags", "where"),
    [([], "state/identity/public.pem"), (["-k", "key.pem"], "the public half of key.pem")],
)
async def test_whoever_is_not_let_in_at_first_is_told(
    command: Command, direct: FakeDirect, flags: list[str], where: str
) -> None:
    """And where the public key is that the other side may want."""
    direct.outcomes = [NotAdmitted("turned away", advice="Give it your public key.")]
    with pytest.raises(NotAdmitted) as caught:
        await Running(command(*flags)).end()
    assert caught.value.advice == f"Give it your public key. Yours: {where}"


@pytest.mark.parametrize(
    ("flags", "target", "port"),
    [
        ("-t host", "host", 8000),
        ("-t host -r 9", "host", 9),
        ("-t host:9", "host", 9),
        ("-t host:9 -r 9", "host", 9),
        ("-t [::1]:9", "[::1]", 9),
        ("-t [::1]", "[::1]", 8000),
        ("-t ::1", "::1", 8000),
        ("-t fe80::1%eth0 -r 9", "fe80::1%eth0", 9),
        ("", None, 8000),
    ],
)
async def test_where_the_target_is(
    command: Command, direct: FakeDirect, flags: str, target: str | None, port: int
) -> None:
    running = Running(command(*flags.split()))
    await until(lambda: bool(direct.told))
    assert (direct.told[0]["target"], direct.told[0]["remote_port"]) == (target, port)
    running.task.cancel()


async def test_a_key_pair_of_somebody_else(command: Command, direct: FakeDirect, capsys: Any, tmp_path: Path) -> None:
    (tmp_path / "theirs.pem").write_bytes(private_pem(key(1)))
    running = Running(command("--peer-key", "theirs.pem"))
    await until(lambda: bool(direct.told))
    assert direct.told[0]["peer_key"] == PEER
    assert "warning: theirs.pem is a key pair: whoever gave it to you" in capsys.readouterr().err
    running.task.cancel()


@pytest.mark.parametrize("flags", [["-m", "1"], ["-m", "2", "-t", "x"], ["-t", "1.2.3.4:99999"]])
def test_no_key_pair_is_made_for_what_cannot_be_done(tmp_path: Path, flags: list[str]) -> None:
    said = Said()
    lines = TypedLines(said.notices)
    with pytest.raises(UsageError):
        _Run(parse(["direct", *flags, "--state-dir", str(tmp_path)]), said, lines, lines)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())
