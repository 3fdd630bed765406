"""The table of bad tokens: what is wrong, the sentence, the exit code. And tokens that only look bad.

Each row runs the real command as people would, and once more with `--json` in this process, which is quicker: both have
to say the same, as in `test_bad_input`.
"""

import json
import random
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import TokenRejected, TokenUnreadable
from p2p_core.targets import MAX_TARGETS, dialable, may_dial
from p2p_core.token_sealing import check_slot, check_times, open_token
from p2p_core.wire import token as wire
from p2p_core.wire.candidate import CandidateKind, Transport
from p2p_core.wire.token import SLOT
from p2p_core.wire.token_text import parse
from p2p_peer.cli.main import main

from tests.e2e.made_tokens import MINUTE, key_of, made_token, named, sealed
from tests.e2e.sentences import like
from tests.programs import Keys, Programs, p2p_peer
from tests.seed import SEED
from tests.token_peers import paste, token_of, token_peer

HERE = ("--bind", "127.0.0.1", "--no-port-mapping")
AT_ONCE = 10.0  # s for a command to end on a busy machine; a good token is tried for ten minutes
MUTATIONS = 10_000


@dataclass(frozen=True)
class Row:
    """A bad token, and what is said of it."""

    name: str
    make: Callable[[Keys, Keys], str]  # from the reader's keys, and those of the peer that is wanted
    code: str
    exit_code: int
    sentence: str


def good(owner: Keys) -> str:
    return sealed(made_token(owner)).text


def changed(owner: Keys) -> str:
    text = good(owner)
    return f"{text[:40]}{'x' if text[40] != 'x' else 'y'}{text[41:]}"


def swapped(owner: Keys) -> str:
    text = good(owner)
    at = next(at for at in range(20, len(text)) if text[at] != text[at + 1])
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def with_trailing_bytes(owner: Keys) -> str:
    """A token whose cipher is right and whose content is not: only a program of somebody else's makes one."""
    token = made_token(owner)
    content = wire.encode(token) + b"\xff"
    return sealed(token, content=content).text


UNREADABLE, REJECTED, EXPIRED = ("token-unreadable", 2), ("token-rejected", 4), ("token-expired", 4)
MISTYPED = "the token is mistyped: it has its length, but a character is wrong, or two are swapped"
TOO_OLD = "the token is ... old, and none is good for longer than ..."
OUR_OWN_KEY = "this token was made with this side's own key pair"

ROWS = (
    Row("nothing", lambda own, other: "", *UNREADABLE, "the token is empty"),
    Row("marks alone", lambda own, other: "> `…`", *UNREADABLE, "there is no token: not a letter or digit"),
    Row(
        "the end of one alone",
        lambda own, other: f"z{good(other)[-40:]}",
        *UNREADABLE,
        "this is not a token: it begins with ...; if this is the end of a token, paste it from its first character",
    ),
    Row(
        "two",
        lambda own, other: f"{good(other)} {good(own)}",
        *UNREADABLE,
        "there are 2 different tokens in this",
    ),
    Row("no token", lambda own, other: "hello there", *UNREADABLE, "this is not a token: it begins with ..."),
    Row(
        "another version",
        lambda own, other: f"2{good(other)[1:]}",
        *UNREADABLE,
        "this is a token of version 2, and this program reads version 1",
    ),
    Row(
        "truncated",
        lambda own, other: good(other)[:-5],
        *UNREADABLE,
        "the token is cut off: it lacks 5 of its ... characters",
    ),
    Row("too long", lambda own, other: f"{good(other)}7", *UNREADABLE, "the token is too long: ... characters, ..."),
    Row("one character changed", lambda own, other: changed(other), *UNREADABLE, MISTYPED),
    Row("two characters swapped", lambda own, other: swapped(other), *UNREADABLE, MISTYPED),
    Row("made with our own key", lambda own, other: good(own), *UNREADABLE, OUR_OWN_KEY),
    Row(
        "expired",
        lambda own, other: sealed(made_token(other, age=20 * MINUTE)).text,
        *EXPIRED,
        "the token expired ... ago",
    ),
    Row(
        "replayed from an hour ago",
        lambda own, other: sealed(made_token(other, age=61 * MINUTE)).text,
        *EXPIRED,
        TOO_OLD,
    ),
    Row(
        "replayed from yesterday",
        lambda own, other: sealed(made_token(other, age=24 * 60 * MINUTE)).text,
        *EXPIRED,
        TOO_OLD,
    ),
    Row(
        "from the future",
        lambda own, other: sealed(made_token(other, age=-20 * MINUTE)).text,
        *REJECTED,
        "the token is from the future: by this computer's clock, ... from now",
    ),
    Row(
        "another phrase",
        lambda own, other: sealed(made_token(other), "correct horse").text,
        *REJECTED,
        "the token was made with another phrase, or by another kind of program",
    ),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def fails(argv: Sequence[str | Path], stdin: str | None = None) -> tuple[str, str, int]:
    """Run the command as people would; return its sentence, its advice and its exit code."""
    given: dict[str, Any] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    done = subprocess.run(p2p_peer(*argv), capture_output=True, text=True, timeout=AT_ONCE, check=False, **given)
    assert "Traceback" not in done.stderr
    *_, sentence, advice = done.stderr.splitlines()
    assert sentence.startswith("p2p-peer: "), done.stderr
    return sentence.removeprefix("p2p-peer: "), advice.strip(), done.returncode


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_bad_token(row: Row, keys: tuple[Keys, Keys], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, other = keys
    text = row.make(own, other)
    argv: list[str | Path] = ["token", own.pair, other.public, "--token", text, *HERE, "--state-dir", folder]
    sentence, advice, code = fails(argv)
    assert like(row.sentence, sentence), sentence
    assert code == row.exit_code
    capsys.readouterr()
    assert main([*map(str, argv), "--json"]) == row.exit_code
    *_, last = capsys.readouterr().out.splitlines()
    event = json.loads(last)
    assert event == {"event": "error", "code": row.code, "message": event["message"], "advice": advice}
    assert like(row.sentence, event["message"]), event["message"]


def test_every_fault_has_its_own_sentence() -> None:
    told = [row.sentence for row in ROWS]
    shared = {MISTYPED: 2, TOO_OLD: 2}  # by two ways to be the same fault
    assert {sentence: told.count(sentence) for sentence in told} == dict.fromkeys(told, 1) | shared


@pytest.mark.parametrize("way", ["a file", "standard input"])
def test_a_bad_token_that_is_read(way: str, keys: tuple[Keys, Keys], folder: Path, tmp_path: Path) -> None:
    own, other = keys
    file = tmp_path / "token"
    file.write_text(changed(other))
    given, stdin = (["--token-file", file], None) if way == "a file" else (["--token-file", "-"], changed(other))
    sentence, _, code = fails(["token", own.pair, other.public, *given, *HERE, "--state-dir", folder], stdin)
    assert (sentence, code) == (MISTYPED, 2)


def test_a_token_of_another_peer(keys: tuple[Keys, Keys], folder: Path, tmp_path: Path) -> None:
    own, other = keys
    stranger = Keys.make(tmp_path / "stranger")
    argv = ["token", own.pair, other.public, "--token", good(stranger), *HERE, "--state-dir", folder]
    sentence, _, code = fails(argv)
    assert sentence == f"this token is not of the peer whose public key was given ({other.peer.short})"
    assert code == 4


def test_our_own_token(keys: tuple[Keys, Keys], folder: Path, programs: Programs) -> None:
    own, other = keys
    peer = token_peer(programs, "alice", folder, *HERE, own=own, other=other)
    paste(token_of(peer), peer)
    assert peer.exit_code(AT_ONCE) == 2
    assert peer.wait_for("error")["message"] == "this is this side's own token"


def test_a_content_that_does_not_parse(keys: tuple[Keys, Keys], folder: Path) -> None:
    own, other = keys
    argv = ["token", own.pair, other.public, "--token", with_trailing_bytes(other), *HERE, "--state-dir", folder]
    sentence, _, code = fails(argv)
    assert like("the other side's program made a bad token: ...", sentence), sentence
    assert code == 4


# What pasting adds is no fault.

DECORATED = {
    "spaces and line breaks around": "  \r\n\t{}\r\n\r\n ",
    "quotes around": "“{}”",
    "code marks around": "```{}```",
    "an invisible mark before": "\ufeff{}",
}


def broken_over_lines(text: str, between: str) -> str:
    return between.join(text[at : at + 30] for at in range(0, len(text), 30))


@pytest.mark.parametrize("around", DECORATED.values(), ids=DECORATED)
@pytest.mark.parametrize("inside", ["", " ", "\n", "\u200b", "\n> ", "\u00a0\u00ad"], ids=ascii)
def test_what_pasting_adds_is_passed_over(around: str, inside: str, keys: tuple[Keys, Keys]) -> None:
    text = good(keys[0])
    assert parse(around.format(broken_over_lines(text, inside))).text == text


@pytest.mark.parametrize("way", ["an argument", "a file", "standard input", "a line after the other"])
def test_with_what_pasting_adds_they_connect(
    way: str, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    one, other = keys
    alice = token_peer(programs, "alice", tmp_path / "a", *HERE, "--message", "hello", own=one, other=other)
    text = f"\ufeff  “{broken_over_lines(token_of(alice), f'{chr(0x200B)} {chr(10)}> ')}” \n"
    file = tmp_path / "token"
    file.write_text(text)
    given = {
        "an argument": ["--token", text],
        "a file": ["--token-file", file],
        "standard input": ["--token-file", "-"],
    }
    flags = [*HERE, *given.get(way, []), "--message", "hello"]
    bob = token_peer(programs, "bob", tmp_path / "b", *flags, own=other, other=one)
    if "line" in way or way == "standard input":
        paste(text, bob)
    if way == "standard input":
        assert bob.process.stdin is not None
        bob.process.stdin.close()
    paste(token_of(bob), alice)
    for peer in (alice, bob):
        assert peer.exit_code() == 0
        assert peer.wait_for("message")["text"] == "hello"


# What a hostile token can make of a peer: nothing, but for the packets that `tests/lab/test_token_flooding.py` counts.

OWN = named(("192.0.2.1", 4000), kind=CandidateKind.HOST)


def test_mistyped_tokens_are_all_noticed(keys: tuple[Keys, Keys]) -> None:
    """Characters changed, swapped, left out and added. One in 65 536 has the right check, and then does not open."""
    print(f"PUNCHWIRE_SEED={SEED}")
    chance = random.Random(SEED)
    token = made_token(keys[1])
    text, key = sealed(token).text, key_of("", token.issued // SLOT)
    digits = sorted(set(map(chr, range(128))) & set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"))
    for _ in range(MUTATIONS):
        characters = list(text)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(characters))
            match chance.randrange(4):
                case 0:
                    characters[at] = chance.choice(digits)
                case 1:
                    characters.insert(at, chance.choice(digits))
                case 2:
                    del characters[at]
                case 3:
                    other = chance.randrange(len(characters))
                    characters[at], characters[other] = characters[other], characters[at]
        mutated = "".join(characters)
        if mutated == text:
            continue
        with pytest.raises((TokenUnreadable, TokenRejected)):
            read(mutated, key)


def read(text: str, key: bytes) -> wire.Token:
    """All that is asked of a token before anything is sent; `key` is that of the present slot."""
    opened = parse(text)
    check_slot(opened, time.time())
    token = open_token(opened, key)
    check_times(token, time.time())
    return token


def test_mutated_contents_name_few_targets_and_never_this_computer(keys: tuple[Keys, Keys]) -> None:
    """Whoever knows the phrase can write anything: it is read, or refused as what the other side did wrong."""
    print(f"PUNCHWIRE_SEED={SEED}")
    chance = random.Random(SEED)
    addresses = [("203.0.113.9", 7), ("127.0.0.1", 8), ("2001:db8::9", 9), ("10.0.0.9", 10), ("224.0.0.1", 11)]
    owner, refused = keys[1], 0
    for _ in range(MUTATIONS):
        token = made_token(owner, named(*chance.sample(addresses, 2)))
        content = bytearray(wire.encode(token))
        for _ in range(chance.randint(1, 8)):
            content[chance.randrange(len(content))] = chance.randrange(256)
        if chance.random() < 0.3:  # of another length
            content = content[: chance.randrange(len(content))] + chance.randbytes(chance.randrange(40))
        if not wire.MIN_CONTENT_BYTES <= len(content) <= wire.MAX_CONTENT_BYTES:
            continue  # there is no text for it
        text = sealed(token, content=bytes(content)).text
        try:
            opened = read(text, key_of("", token.issued // SLOT))
        except TokenRejected:
            refused += 1
            continue
        for transport in Transport:
            targets = dialable(opened.candidates, transport, own=OWN)
            assert len(targets) <= MAX_TARGETS
            for target in targets:
                assert may_dial(target, loopback=False)
                assert not target.ip.is_loopback
    assert 0 < refused < MUTATIONS
