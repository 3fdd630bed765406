"""The table of bad input: what is wrong, the sentence, the exit code.

Each row runs the real command as people would, and once more with `--json` in this process, which is quicker: both have
to say the same. A sentence is compared whole; `...` in it stands for what depends on the machine.
"""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from p2p_core.errors import MediatorUnreachable
from p2p_core.safe_names import STAGING_PREFIX
from p2p_peer import mediator, mediator_identity, what_answers
from p2p_peer.cli.main import main
from p2p_proto import mediator_pb2 as pb

from tests.e2e.bad_keys import BAD_PAIRS, BAD_PUBLICS, BadKey, locked
from tests.e2e.bad_mediators import (
    GARBAGE,
    Ended,
    closes,
    door,
    echo,
    grpc_service,
    own_credentials,
    says,
    scripted,
    tls_context,
    web_server,
)
from tests.e2e.conftest import World
from tests.e2e.sentences import like
from tests.programs import Keys, Programs, p2p_peer, p2p_server, start_here

LOCALHOST = "127.0.0.1"
NOWHERE = (LOCALHOST, "1")  # never dialled: something else is found to be wrong first
PATIENCE = 30  # s for a command to end
Flag = str | Path


@dataclass(frozen=True)
class Command:
    """`p2p-peer` with two keys, and a folder for what it remembers."""

    own: Path
    other: Path
    state: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def fails(
        self,
        where: tuple[str, str],
        *flags: Flag,
        code: str,
        exit_code: int,
        sentence: str,
        passphrase: str | None = None,
    ) -> str:
        """Check what it says, in both ways, and return the advice."""
        if passphrase is not None:
            self.monkeypatch.setenv("P2P_PEER_PASSPHRASE", passphrase)
        arguments = [*where, self.own, self.other, "--wait", "0.1", "--state-dir", self.state, *flags]
        said, advice = failed(p2p_peer(*arguments), "p2p-peer", exit_code)
        assert like(sentence, said), said
        shutil.rmtree(self.state, ignore_errors=True)
        self.fails_in_this_process(*arguments, code=code, exit_code=exit_code, sentence=sentence, advice=advice)
        return advice

    def fails_in_this_process(self, *arguments: Flag, code: str, exit_code: int, sentence: str, advice: str) -> None:
        """Check the last event that it prints with --json."""
        self.capsys.readouterr()
        assert main([*map(str, arguments), "--json"]) == exit_code
        *_, last = self.capsys.readouterr().out.splitlines()
        event = json.loads(last)
        assert event == {"event": "error", "code": code, "message": event["message"], "advice": advice}
        assert like(sentence, event["message"]), event["message"]


def failed(argv: list[str], program: str, exit_code: int, **environment: str) -> tuple[str, str]:
    """Run a command that fails; return its sentence and its advice."""
    done = subprocess.run(
        argv,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=False,
    )
    *others, sentence, advice = done.stderr.splitlines()
    assert done.returncode == exit_code, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert not any(line.startswith(f"{program}: ") for line in others if "warning: " not in line)
    assert sentence.startswith(f"{program}: ")
    assert advice.startswith(" " * len(f"{program}: "))
    return sentence.removeprefix(f"{program}: "), advice.strip()


@pytest.fixture
def command(
    keys: tuple[Keys, Keys], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Alice's command, in an environment without a passphrase, who wants to meet Bob."""
    monkeypatch.delenv("P2P_PEER_PASSPHRASE", raising=False)
    alice, bob = keys
    return Command(alice.pair, bob.public, tmp_path / "state", capsys, monkeypatch)


@pytest.fixture
def with_own(command: Command, tmp_path: Path) -> Command:
    """The same with a key pair that a test writes."""
    return Command(tmp_path / "own.pem", command.other, command.state, command.capsys, command.monkeypatch)


@pytest.fixture
def with_other(command: Command, tmp_path: Path) -> Command:
    """The same with a public key that a test writes."""
    return Command(command.own, tmp_path / "other.pem", command.state, command.capsys, command.monkeypatch)


# Keys.


def names(rows: tuple[BadKey, ...]) -> list[str]:
    return [row.name for row in rows]


def sentence_of(row: BadKey, path: Path) -> str:
    return f"{path} {row.sentence}" if row.sentence.startswith(("cannot", "is ")) else f"{path}: {row.sentence}"


@pytest.mark.parametrize("row", BAD_PAIRS, ids=names(BAD_PAIRS))
def test_a_bad_key_pair(with_own: Command, row: BadKey) -> None:
    path = with_own.own
    row.write(path)
    with_own.fails(NOWHERE, code=row.code, exit_code=2, sentence=sentence_of(row, path))


@pytest.mark.parametrize("row", BAD_PUBLICS, ids=names(BAD_PUBLICS))
def test_a_bad_public_key(with_other: Command, row: BadKey) -> None:
    path = with_other.other
    row.write(path)
    with_other.fails(NOWHERE, code=row.code, exit_code=2, sentence=sentence_of(row, path))


@pytest.mark.parametrize("passphrase", ["wrong", "caf\udce9"], ids=["", "not UTF-8"])
def test_a_wrong_passphrase(with_own: Command, passphrase: str) -> None:
    locked(with_own.own)
    sentence = f"{with_own.own}: the passphrase does not open the key pair"
    advice = with_own.fails(NOWHERE, code="key-locked", exit_code=2, sentence=sentence, passphrase=passphrase)
    assert "P2P_PEER_PASSPHRASE" in advice


def test_no_passphrase_opens_the_other_sides_key(with_other: Command) -> None:
    """Not even the right one: trying it could take hours, at the choice of whoever made the file."""
    locked(with_other.other)
    sentence = f"{with_other.other}: the key pair is locked with a passphrase"
    advice = with_other.fails(NOWHERE, code="key-locked", exit_code=2, sentence=sentence, passphrase="secret")
    assert "public.pem" in advice
    assert "P2P_PEER_PASSPHRASE" not in advice


def test_the_same_key_on_both_sides(command: Command, keys: tuple[Keys, Keys]) -> None:
    ours = Command(command.own, keys[0].public, command.state, command.capsys, command.monkeypatch)
    ours.fails(NOWHERE, code="same-key", exit_code=2, sentence="the other peer's key is your own")


def test_a_key_pair_where_a_public_key_will_do(world: World, command: Command) -> None:
    """It is read for its public half: nothing is wrong with it."""
    where = world.mediator.host, str(world.mediator.port)
    ours = Command(command.own, world.bob.pair, command.state, command.capsys, command.monkeypatch)
    sentence = f"the other peer ({world.bob.peer.short}) did not come within 0.1 s"
    ours.fails(where, code="peer-did-not-come", exit_code=5, sentence=sentence)


def test_the_right_passphrase_opens_a_key(world: World, with_own: Command) -> None:
    """Unlocked, it gets as far as the mediator, which does not admit it."""
    locked(with_own.own)
    where = world.mediator.host, str(world.mediator.port)
    sentence = "the mediator does not admit your key"
    with_own.fails(where, code="not-admitted", exit_code=4, sentence=sentence, passphrase="secret")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_read_or_write(with_own: Command, mode: int) -> None:
    """Be it locked."""
    locked(with_own.own)
    with_own.own.chmod(mode)
    writes, reads = "can write to {}, so nothing in it is believed", "may be able to read {}, which has a private key"
    sentence = f"other users of this computer {(writes if mode & 0o022 else reads).format(with_own.own)}"
    advice = with_own.fails(NOWHERE, code="not-private", exit_code=2, sentence=sentence, passphrase="secret")
    assert f"chmod 600 {with_own.own}" in advice


# What answers is no mediator, or not the right one.

Opened = AbstractContextManager[int]


@dataclass(frozen=True)
class Answers:
    """One row: what answers, with which flags it is called, and what is said."""

    name: str
    opened: Callable[[Path], Opened]  # is given a folder; yields the port
    flags: tuple[str, ...]
    sentence: str
    code: str = "mediator-unreachable"
    exit_code: int = 3


def no_tls(name: str, talk: Callable[[socket.socket], None], sentence: str, without: str) -> tuple[Answers, Answers]:
    """The same door, called with TLS and without."""
    return (
        Answers(name, lambda _: door(talk), (), sentence),
        Answers(f"{name}, --insecure", lambda _: door(talk), ("--insecure",), without),
    )


def inside_tls(name: str, talk: Callable[[socket.socket], None], protocols: tuple[str, ...], sentence: str) -> Answers:
    return Answers(name, lambda folder: door(talk, tls_context(folder, *protocols)), (), sentence)


def plain(name: str, sentence: str, *answers: bytes | Ended, code: str = "remote-protocol-error") -> Answers:
    """A mediator without TLS that gives these answers."""
    return Answers(name, lambda _: scripted(*answers), ("--insecure",), sentence, code, 1)


CLOSED = "cannot reach a mediator at 127.0.0.1:{port}: whatever answers there closed the connection"
NO_TLS = "what answers at 127.0.0.1:{port} is not a mediator: it does not speak TLS as one does (...)"
NO_GRPC = "what answers at 127.0.0.1:{port} is not a mediator: it speaks TLS, but not gRPC"
ENDED = "the mediator ended the connection: ..."
UNPARSED = "the mediator broke the protocol: a message that does not parse"
CHALLENGE = pb.ToPeer(challenge=pb.Challenge(version=1, nonce=bytes(32))).SerializeToString()
WELCOME = pb.ToPeer(welcome=pb.Welcome()).SerializeToString()
MATCH = pb.Match(role=pb.INITIATOR, peer=bytes(31), offer=b"x", own_offer_hash=bytes(32))
OTHER_VERSION = Ended((grpc.StatusCode.FAILED_PRECONDITION, "unsupported-version", "this mediator speaks version 2"))
BUSY = Ended((grpc.StatusCode.RESOURCE_EXHAUSTED, "too-many-handshakes", "too many peers are proving themselves"))

ANSWERS = (
    *no_tls("closes", closes, CLOSED, ENDED),
    *no_tls("ssh", says(b"SSH-2.0-OpenSSH_9.2\r\n"), NO_TLS, ENDED),
    *no_tls("web server", web_server, NO_TLS, ENDED),
    *no_tls("garbage", says(GARBAGE), NO_TLS, ENDED),
    *no_tls("echo", echo, NO_TLS, ENDED),
    inside_tls("web server with TLS", web_server, (), NO_GRPC),
    inside_tls("web server with ALPN", web_server, ("http/1.1",), NO_GRPC),
    inside_tls("garbage in TLS", says(GARBAGE), ("h2",), ENDED),
    inside_tls("closes after TLS", closes, ("h2",), ENDED),
    Answers(
        "another service",
        lambda _: grpc_service("some.other.Service", "Do", lambda messages, context: messages, own_credentials()),
        (),
        "what answers there is not a mediator: it speaks gRPC, and knows nothing of Punchwire",
    ),
    plain("another version", "the mediator speaks another version: this mediator speaks version 2", OTHER_VERSION),
    plain("garbage for a challenge", UNPARSED, b"\xff\xff", code="malformed"),
    plain("garbage for a welcome", UNPARSED, CHALLENGE, b"\xff\xff", code="malformed"),
    plain("garbage for a match", UNPARSED, CHALLENGE, WELCOME, b"\xff\xff", code="malformed"),
    plain(
        "nothing for a challenge",
        "the mediator broke the protocol: a step of another version where a challenge belongs",
        b"",
    ),
    plain("a welcome at once", "the mediator broke the protocol: a welcome where a challenge belongs", WELCOME),
    plain("no welcome", "the mediator broke the protocol: a challenge where a welcome belongs", CHALLENGE, CHALLENGE),
    plain(
        "a short nonce",
        "the mediator broke the protocol: a nonce of 31 bytes",
        pb.ToPeer(challenge=pb.Challenge(version=1, nonce=bytes(31))).SerializeToString(),
    ),
    plain(
        "a match with nobody",
        "the mediator broke the protocol: a peer id has 32 bytes, this has 31",
        CHALLENGE,
        WELCOME,
        pb.ToPeer(match=MATCH).SerializeToString(),
        code="malformed",
    ),
    plain(
        "a match without a role",
        "the mediator broke the protocol: a match without a role, or without the offer it belongs to",
        CHALLENGE,
        WELCOME,
        pb.ToPeer(match=pb.Match()).SerializeToString(),
    ),
    plain(
        "a message of 1 MB", "the mediator broke the protocol: a message larger than any of the protocol", bytes(10**6)
    ),
    Answers(
        "busy",
        lambda _: scripted(BUSY),
        ("--insecure",),
        "the mediator ended the connection: too many peers are proving themselves",
    ),
)


@pytest.mark.parametrize("row", ANSWERS, ids=[row.name for row in ANSWERS])
def test_what_answers_is_no_mediator(command: Command, tmp_path: Path, row: Answers) -> None:
    with row.opened(tmp_path) as port:
        sentence = row.sentence.replace("{port}", str(port))
        flags = (*row.flags, "--wait", "30")  # a match comes at once where it comes
        command.fails((LOCALHOST, str(port)), *flags, code=row.code, exit_code=row.exit_code, sentence=sentence)
    assert not row.sentence.startswith("what answers at") or not command.state.exists()  # its key is not remembered


def test_nobody_listens(command: Command) -> None:
    with socket.create_server((LOCALHOST, 0)) as taken:
        port = taken.getsockname()[1]
    for flags in ((), ("--insecure",)):
        sentence = f"cannot reach a mediator at 127.0.0.1:{port}: Connection refused"
        where = LOCALHOST, str(port)
        command.fails(where, *flags, code="mediator-unreachable", exit_code=3, sentence=sentence)


@pytest.mark.parametrize("flags", [(), ("--insecure",)], ids=["", "--insecure"])
def test_who_answers_says_nothing(command: Command, flags: tuple[str, ...]) -> None:
    """In this process alone, where 10 s can be made short."""
    command.monkeypatch.setattr(mediator_identity, "CONNECT_TIME", 0.1)
    command.monkeypatch.setattr(mediator, "STEP_TIME", 0.1)
    command.monkeypatch.setattr(what_answers, "LOOK_TIME", 0.1)
    with door(says(b"")) as port:
        who = "the mediator did not answer" if flags else f"no answer from 127.0.0.1:{port}"
        command.fails_in_this_process(
            *(LOCALHOST, str(port), command.own, command.other, *flags, "--state-dir", command.state),
            code="mediator-unreachable",
            exit_code=3,
            sentence=f"{who} within 0.1 s",
            advice=MediatorUnreachable.advice,
        )


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("no-such-host.invalid", "Name or service not known"),
        ("a..b", "that is no name of a computer"),
        ("x" * 70, "that is no name of a computer"),
    ],
)
def test_a_host_that_is_none(command: Command, host: str, why: str) -> None:
    """In this process alone, where the resolver's answer can be given without asking anybody."""

    def getaddrinfo(name: str, *_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    if host.endswith(".invalid"):
        command.monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    command.fails_in_this_process(
        *(host, "54700", command.own, command.other, "--state-dir", command.state),
        code="mediator-unreachable",
        exit_code=3,
        sentence=f"cannot reach a mediator at {host}:54700: {why}",
        advice="Check how HOST is spelled, and whether this computer has a network.",
    )


def test_tls_or_no_tls(programs: Programs, command: Command, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    """Both programs have to be told alike; each sentence says which flag is wrong."""
    with_tls = programs.mediator(tmp_path / "with", keys)
    without = programs.mediator(tmp_path / "without", keys, "--insecure")
    unreachable = partial(command.fails, code="mediator-unreachable", exit_code=3)
    port = str(with_tls.port)
    sentence = f"the mediator at 127.0.0.1:{port} speaks TLS, and --insecure is for one that does not"
    assert unreachable((LOCALHOST, port), "--insecure", sentence=sentence) == "Leave out --insecure."
    port = str(without.port)
    advice = unreachable((LOCALHOST, port), sentence=f"the mediator at 127.0.0.1:{port} speaks without TLS")
    assert "give --insecure" in advice


# The mediator is one, and says no; or it is another one than before.


def test_a_key_that_is_not_admitted(world: World, command: Command, tmp_path: Path) -> None:
    stranger = Keys.make(tmp_path / "stranger")
    theirs = Command(stranger.pair, command.other, command.state, command.capsys, command.monkeypatch)
    where = LOCALHOST, str(world.mediator.port)
    sentence = "the mediator does not admit your key"
    advice = theirs.fails(where, code="not-admitted", exit_code=4, sentence=sentence)
    assert "p2p-server authorize --authorized DIR public.pem" in advice


def test_a_mediator_whose_key_changed_and_one_whose_certificate_was_renewed(
    programs: Programs, world: World, tmp_path: Path
) -> None:
    assert world.start_alice("--wait", "0.1").exit_code() == 5
    port, first = world.mediator.port, world.mediator.id
    admitted = [world.alice, world.bob]
    assert world.mediator.stop() == 0
    (tmp_path / "mediator" / "certificate.pem").unlink()  # another one is made, for the key that is kept
    world.mediator = programs.mediator(tmp_path / "mediator", admitted, "--port", str(port))
    assert world.start_alice("--wait", "0.1").exit_code() == 5
    assert world.mediator.stop() == 0
    world.mediator = programs.mediator(tmp_path / "another", admitted, "--port", str(port))
    alice = world.start_alice("--wait", "0.1")
    assert alice.exit_code() == 4
    error = alice.wait_for("error")
    assert error["code"] == "mediator-key-changed"
    assert error["message"] == (
        f"the key of the mediator at 127.0.0.1:{port} has changed: it was {first}, it is now {world.mediator.id}. "
        "Somebody may be in its place"
    )
    assert error["advice"].endswith(f"p2p-peer trust remove 127.0.0.1:{port} --state-dir {world.alice.folder}/state")
    assert world.start_alice("--wait", "0.1", "--mediator-id", world.mediator.id).exit_code() == 5


def test_another_mediator_id(world: World, command: Command) -> None:
    wrong = str(world.bob.peer)  # looks like one
    port = str(world.mediator.port)
    sentence = (
        f"the mediator at 127.0.0.1:{port} has the id {world.mediator.id}, not the one that was asked for: {wrong}"
    )
    flags = ("--mediator-id", wrong)
    command.fails((LOCALHOST, port), *flags, code="mediator-key-changed", exit_code=4, sentence=sentence)


# Clocks.


@pytest.mark.parametrize("ahead", [3600, -3600])
def test_clocks_that_differ_by_an_hour(world: World, tmp_path: Path, ahead: int) -> None:
    """Both sides say whose clock to look at; neither waits for a connection that does not come."""
    program = f"import time\nreal = time.time\ntime.time = lambda: real() + {ahead}\n"
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(program)
    alice = world.start_alice("--message", "hello")
    alice.wait_for("waiting")
    bob = world.start_bob("--message", "hello", env=os.environ | {"PYTHONPATH": str(tmp_path / "clock")})
    assert (alice.exit_code(), bob.exit_code()) == (4, 4)
    # The mediator's clock is alice's, so it is bob who has to set his.
    assert alice.wait_for("error")["advice"].startswith("Let the other side set its clock")
    off = f"about 60 minutes {'ahead of' if ahead > 0 else 'behind'} the mediator's"
    assert bob.wait_for("error")["advice"] == f"Set this computer's clock: it is {off}."
    sentence = "by its offer, the other side's clock is about 60 minutes {} this computer's clock"
    for peer, where in ((alice, "ahead of"), (bob, "behind")) if ahead > 0 else ((alice, "behind"), (bob, "ahead of")):
        error = peer.wait_for("error")
        assert (error["code"], error["message"]) == ("clocks-differ", sentence.format(where))


# Files and folders.


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: None, "No such file or directory"),
        (make_pipe, "it is neither a file nor a folder"),
        pytest.param(
            lambda path: path.touch(0),
            "Permission denied",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything"),
        ),
    ],
    ids=["missing", "pipe", "forbidden"],
)
def test_what_cannot_be_sent(command: Command, tmp_path: Path, make: Callable[[Path], None], why: str) -> None:
    path = tmp_path / "to be sent"
    make(path)
    sentence = f"{path} cannot be read: {why}"
    command.fails(NOWHERE, "--send", path, code="usage", exit_code=2, sentence=sentence)


def test_a_name_that_is_too_long(command: Command) -> None:
    path = Path("x" * 300)
    sentence = f"{path} cannot be read: File name too long"
    command.fails(NOWHERE, "--send", path, code="usage", exit_code=2, sentence=sentence)


@pytest.mark.parametrize(("folder", "why"), [("file", "File exists"), ("file/inbox", "Not a directory")])
def test_where_nothing_can_be_received(command: Command, tmp_path: Path, folder: str, why: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / folder
    sentence = f"{path} is not a folder that can be written to: {why}"
    command.fails(NOWHERE, "--receive", path, code="usage", exit_code=2, sentence=sentence)


def test_a_state_folder_that_cannot_be_written_to(world: World, command: Command) -> None:
    where = LOCALHOST, str(world.mediator.port)
    sentence = "/dev/null/state/trust.json cannot be read: Not a directory"
    command.fails(where, "--state-dir", "/dev/null/state", code="usage", exit_code=2, sentence=sentence)


@pytest.mark.parametrize("content", ["{", "[" * 200_000], ids=["cut off", "brackets in brackets"])
def test_a_damaged_state_file(world: World, command: Command, tmp_path: Path, content: str) -> None:
    (tmp_path / "trust.json").write_text(content)
    (tmp_path / "trust.json").chmod(0o600)
    where = LOCALHOST, str(world.mediator.port)
    sentence = f"{tmp_path}/trust.json, where peers and mediators are remembered, is damaged: it is no JSON"
    command.fails(where, "--state-dir", tmp_path, code="usage", exit_code=2, sentence=sentence)


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="mounting takes root")
def test_a_full_disk(world: World, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", inbox], check=False)
    if mounted.returncode != 0:
        pytest.skip("no file system can be mounted here")
    world.programs.callback(subprocess.run, ["umount", inbox], check=True)
    source = tmp_path / "too-big"
    source.write_bytes(bytes(8 * 2**20))
    alice = world.start_alice("--send", source)
    bob = world.start_bob("--receive", inbox, "--yes")
    assert (alice.exit_code(), bob.exit_code()) == (8, 8)
    sentence = "too-big cannot be written: No space left on device"
    assert alice.wait_for("error")["message"] == f"the other side gave up: {sentence}"
    assert bob.wait_for("error")["message"] == sentence
    assert "Make room" in bob.wait_for("error")["advice"]
    [kept] = inbox.iterdir()
    assert kept.name.startswith(STAGING_PREFIX)

    subprocess.run(["mount", "-o", "remount,size=32m", inbox], check=True)
    alice = world.start_alice("--send", source)
    bob = world.start_bob("--receive", inbox, "--yes")
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    assert (inbox / "too-big").read_bytes() == source.read_bytes()
    assert list(inbox.iterdir()) == [inbox / "too-big"]
    assert alice.wait_for("transfer_sent")["moved"] < source.stat().st_size  # what there was room for is there


def test_a_file_that_is_too_large_for_where_it_goes(world: World, tmp_path: Path) -> None:
    """The others arrive; both sides say which one did not."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name, size in (("a", 1000), ("b", 3 * 2**20), ("c", 1000)):
        (tree / name).write_bytes(os.urandom(size))

    def limited(argv: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        return start_here(["sh", "-c", 'ulimit -f 1024; exec "$@"', "sh", *argv], **options)  # 1 MiB at most

    alice = world.start_alice("--send", tree)
    bob = world.start_bob("--receive", tmp_path / "inbox", "--yes", start=limited)
    assert (alice.exit_code(), bob.exit_code()) == (8, 8)
    sentence = "b cannot be written: File too large"
    assert bob.wait_for("file_failed")["message"].endswith(sentence)
    assert alice.wait_for("file_failed")["message"].startswith("the other side cannot store it: ")
    assert alice.wait_for("file_failed")["path"] == bob.wait_for("file_failed")["path"] == "tree/b"
    for peer, what in ((alice, "sent"), (bob, "received")):
        assert peer.wait_for("error")["message"] == f"1 file was not {what}: see above"
        done = peer.wait_for(f"transfer_{what}")
        assert (done["files"], done["size"], done["failed"]) == (2, 2000, 1)
    assert list((tmp_path / "inbox").iterdir()) == [tmp_path / "inbox" / "tree"]
    for name in ("a", "c"):
        assert (tmp_path / "inbox" / "tree" / name).read_bytes() == (tree / name).read_bytes()
    assert not (tmp_path / "inbox" / "tree" / "b").exists()


# The command line.


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "the following arguments are required: HOST, PORT, KEYPAIR, PEERKEY"),
        (["nonsense"], "the following arguments are required: PORT, KEYPAIR, PEERKEY"),
        (["host", "0", "own", "other"], "argument PORT: '0' is not a port"),
        (["host", "65536", "own", "other"], "argument PORT: '65536' is not a port"),
        (["host", "-1", "own", "other"], "argument PORT: '-1' is not a port"),
        (["host", "http", "own", "other"], "argument PORT: 'http' is not a port"),
        (["host", "1", "own", "other", "--wait", "-1"], "argument --wait: '-1' is not a number of seconds above 0"),
        (["host", "1", "own", "other", "--timeout", "0"], "argument --timeout: '0' is not a number of seconds above 0"),
        (["host", "1", "own", "other", "--wait", "soon"], "argument --wait: 'soon' is not a number of seconds above 0"),
        (["host", "1", "own", "other", "--sned", "x"], "unrecognized arguments: --sned x"),
        (["keygen"], "the following arguments are required: DIR"),
        (["fingerprint"], "the following arguments are required: KEY"),
    ],
)
def test_a_command_line_that_makes_no_sense(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    out, said = capsys.readouterr()
    usage, error = said.splitlines()[0], said.splitlines()[-1]
    assert (out, usage.startswith("usage: p2p-peer")) == ("", True)
    assert like(f"...: error: {says}", error), error


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--mediator-id", "nonsense"], "'nonsense' is not a mediator id"),
        (
            ["--mediator-id", "nonsense", "--insecure"],
            "without TLS the mediator shows no key, so --mediator-id cannot be checked",
        ),
        (["--message", "x" * 65537], "a message has at most 65536 bytes"),
        (["--message", "caf\udce9"], "a message is not valid UTF-8"),
    ],
)
def test_flags_that_make_no_sense(command: Command, flags: list[str], sentence: str) -> None:
    command.fails(NOWHERE, *flags, code="usage", exit_code=2, sentence=sentence)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["fingerprint", "/dev/zero"], "/dev/zero cannot be read: it is not a regular file"),
        (["fingerprint", "missing"], "missing cannot be read: No such file or directory"),
        (["keygen", "--bits", "1024", "new"], "a key has 2048 to 8192 bits, this has 1024"),
        (["keygen", "--passphrase", "new"], "there is no terminal to ask for a passphrase at"),
        (["keygen", "/dev/null/new"], "/dev/null/new cannot be written to: Not a directory"),
    ],
)
def test_the_other_commands(command: Command, flags: list[str], sentence: str) -> None:
    said, _ = failed(p2p_peer(*flags), "p2p-peer", 2)
    assert said == sentence


# The mediator's own command line. What its parser says is in tests/server/test_cli.py.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the rows below name."""
    made = tmp_path_factory.mktemp("server")
    (made / "empty.pem").touch()
    locked(made / "locked.pem")
    make_pipe(made / "pipe")
    return made


@pytest.mark.parametrize(
    ("arguments", "sentence", "advice"),
    [
        (["--authorized", "nowhere"], "there is no folder nowhere", "p2p-server authorize --authorized nowhere PEM"),
        (["--host", "a..b"], "cannot find the address of a..b: that is no name of a computer", "--host"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1: that is not an address of this computer", "--host"),
        (["--tls-cert", "pipe", "--tls-key", "pipe"], "cannot read pipe: it is not a regular file", "path"),
        (
            ["--tls-cert", "empty.pem", "--tls-key", "empty.pem"],
            "empty.pem is not a certificate in PEM form",
            "--tls-cert",
        ),
        (["authorize", "--authorized", "keys", "pipe"], "cannot read pipe: it is not a regular file", "path"),
        (["authorize", "--authorized", "keys", "."], "cannot read .: it is a folder", "path"),
        (["authorize", "--authorized", "keys", "missing"], "cannot read missing: No such file or directory", "path"),
        (["authorize", "--authorized", "keys", "empty.pem"], "empty.pem: this is not a public key in PEM form", "PEM"),
        (
            ["authorize", "--authorized", "keys", "locked.pem"],
            "locked.pem is a key pair that is locked with a passphrase",
            "public.pem",
        ),
    ],
)
def test_the_mediators_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], sentence: str, advice: str
) -> None:
    monkeypatch.chdir(folder)
    if arguments[0] != "authorize":
        arguments = ["--port", "0", "--stun-port", "0", "--state-dir", "state", "--log-level", "error", *arguments]
    said, to_do = failed(p2p_server(*arguments), "p2p-server", 2)
    assert like(sentence, said), said
    assert advice in to_do


def test_a_mediator_that_admits_nobody_says_how_to_begin(folder: Path) -> None:
    flags = ["--host", LOCALHOST, "--port", "0", "--stun-port", "0", "--state-dir", folder / "new"]
    process = subprocess.Popen(p2p_server(*flags), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    _, log = process.communicate(timeout=PATIENCE)
    assert f"p2p-server authorize --authorized {folder}/new/authorized PEM" in log
