import builtins
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core.identity import PeerId, private_pem, public_pem
from p2p_peer.cli.main import main
from p2p_peer.cli.parser import parse
from p2p_peer.keyfiles import write_new_pair
from p2p_peer.trust import TrustStore

from tests.keys import key

BOB, CAROL, DAVE = (PeerId(bytes([n]) * 32) for n in (10, 20, 30))
BOBS_TWIN = PeerId(bytes(BOB[:31]) + b"\0")  # only its end is another
MEDIATOR = PeerId(bytes(32))
NEW_YEAR = 1_735_689_600  # 2025-01-01


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    """Two peers, one of which has been dialled, and a mediator."""
    store = TrustStore(tmp_path / "state")
    store.met(BOB, "bob.example:8000", NEW_YEAR)
    store.met(CAROL, None, NEW_YEAR + 86_400)
    store.remember("mediator.example:54700", MEDIATOR)
    return store


class Program:
    """`p2p-peer trust` with that store."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._folder, self._capsys = folder, capsys

    def says(self, *arguments: str) -> list[str]:
        """Run it; return the lines that it prints."""
        assert main(["trust", *arguments, "--state-dir", str(self._folder)]) == 0
        said = self._capsys.readouterr()
        assert said.err == ""
        return said.out.splitlines()

    def fails(self, *arguments: str, code: int = 2, shows: Iterable[str] = ()) -> str:
        """Run it; return the error that it prints, behind what it `shows`."""
        assert main(["trust", *arguments, "--state-dir", str(self._folder)]) == code
        said = self._capsys.readouterr()
        assert said.err.startswith("p2p-peer: ")
        assert set(shows) <= set(said.out.split())
        return " ".join(said.err.split())


@pytest.fixture
def program(store: TrustStore, capsys: pytest.CaptureFixture[str]) -> Program:
    return Program(store.folder, capsys)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What somebody types at a terminal; all of it is asked for."""
    typed: list[str] = []

    def answer(question: str) -> str:
        assert question in (
            "Read them to each other, on the phone. Are they the same? (yes/no) ",
            "Is that the id which its owner told you? (yes/no) ",
        )
        if not typed:
            raise EOFError
        return typed.pop(0)

    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(builtins, "input", answer)
    yield typed
    assert typed == []


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)


def rows(*peers: PeerId) -> list[str]:
    return [f"{' '.join(peer.words[row : row + 4])}" for peer in peers for row in (0, 4, 8)]


# The list.


def test_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = Program(tmp_path, capsys)
    assert program.says() == ["nobody is remembered yet"]
    assert json.loads(*program.says("--json")) == {"peers": [], "mediators": []}


def test_the_list(store: TrustStore, program: Program) -> None:
    store.rename(CAROL, "Carol")
    store.verify(CAROL)
    store.met(BOB, "192.0.2.1:8000", NEW_YEAR)
    store.remember("b:1", BOB)
    assert program.says() == [
        "peer      id        verified  first met   met at",
        f"Carol     {CAROL.short}  yes       2025-01-02  it came here",
        f"{BOB.short}  {BOB.short}  no        2025-01-01  bob.example:8000 and 1 more",
        "",
        "mediator",
        "b:1",
        f"  {BOB}",
        "mediator.example:54700",
        f"  {MEDIATOR}",
    ]
    assert max(map(len, program.says())) < 80
    assert program.says("list") == program.says()


def test_peers_or_mediators_only(store: TrustStore, program: Program) -> None:
    store.forget_mediator("mediator.example:54700")
    assert program.says("list")[0].startswith("peer ")
    assert len(program.says("list")) == 3
    store.forget_peer(BOB)
    store.forget_peer(CAROL)
    store.remember("m:1", MEDIATOR)
    assert program.says("list") == ["mediator", "m:1", f"  {MEDIATOR}"]


def test_the_list_for_programs(store: TrustStore, program: Program) -> None:
    store.rename(BOB, "Bob")
    (line,) = program.says("list", "--json")
    bob: dict[str, Any] = {
        "peer": str(BOB),
        "name": "Bob",
        "verified": False,
        "targets": ["bob.example:8000"],
        "first_met": NEW_YEAR,
        "last_met": NEW_YEAR,
        "words": list(BOB.words),
    }
    carol = {
        "peer": str(CAROL),
        "name": None,
        "verified": False,
        "targets": [],
        "first_met": NEW_YEAR + 86_400,
        "last_met": NEW_YEAR + 86_400,
        "words": list(CAROL.words),
    }
    assert json.loads(line) == {
        "peers": [bob, carol],
        "mediators": [{"target": "mediator.example:54700", "id": str(MEDIATOR)}],
    }


def test_nothing_for_the_terminal_to_obey(store: TrustStore, program: Program) -> None:
    store.met(DAVE, "\x1b[2J\u202e:1", -(10**18))
    store.remember("\x1b]0;evil\a:1", MEDIATOR)
    said = "\n".join(program.says())
    assert r"\x1b[2J\u202e:1" in said
    assert r"\x1b]0;evil\x07:1" in said
    assert "never" in said  # is when it was first met
    assert said.isascii()
    assert "\x1b" not in said
    assert r"nobody is remembered as '\x1b[2J'" in program.fails("remove", "\x1b[2J")


@pytest.mark.parametrize("doing", [(), ("name", "a", "b"), ("verify", "a", "--yes"), ("remove", "a")])
def test_a_damaged_file(store: TrustStore, program: Program, doing: tuple[str, ...]) -> None:
    store.path.write_text('{"\x1b[2J')
    assert "trust.json, where peers and mediators are remembered, is damaged" in program.fails(*doing)
    assert store.path.read_text() == '{"\x1b[2J'


def test_an_error_for_programs(store: TrustStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trust", "remove", "nobody", "--json", "--state-dir", str(store.folder)]) == 2
    said = capsys.readouterr()
    assert said.err == ""
    assert json.loads(said.out) == {
        "event": "error",
        "code": "usage",
        "message": "nobody is remembered as 'nobody'",
        "advice": f"Look who is remembered: p2p-peer trust --state-dir {store.folder}",
    }


# Whom it is about.


@pytest.mark.parametrize(
    "who", ["Bob", "bob", "bob.example:8000", "Bob.Example.:8000", str(BOB), str(BOB).upper(), str(BOB)[:4], BOB.short]
)
def test_who(store: TrustStore, program: Program, who: str) -> None:
    store.rename(BOB, "Bob")
    assert program.says("name", who, "Robert") == [f"{BOB} is Robert from now on"]
    peer = store.peer(BOB)
    assert peer is not None
    assert peer.name == "Robert"


@pytest.mark.parametrize(
    ("who", "why"),
    [
        ("nobody", "nobody is remembered as 'nobody'"),
        (str(DAVE), "nobody is remembered as"),
        ("bob.example:8001", "nobody is remembered as"),
        ("mediator.example:54700", "is a mediator: it can be verified or removed, and has no other name"),
        (str(BOB)[:3], "is too short for the beginning of a peer id"),
        ("", "is too short for the beginning of a peer id"),
        (str(BOB)[:8], f"is the beginning of 2 peer ids: {BOBS_TWIN}, {BOB} Give more of it."),
    ],
)
def test_who_is_not(store: TrustStore, program: Program, who: str, why: str) -> None:
    store.met(BOBS_TWIN, None, NEW_YEAR)
    before = store.path.read_bytes()
    assert why in program.fails("name", who, "X")
    if "mediator" not in why:
        assert why in program.fails("verify", who, "--yes")
        assert why in program.fails("remove", who)
    assert store.path.read_bytes() == before


def test_a_name_comes_before_the_beginning_of_an_id(store: TrustStore, program: Program) -> None:
    store.rename(CAROL, BOB.short)
    assert program.says("remove", BOB.short) == [f"the peer {BOB.short} ({CAROL}) is forgotten"]


# What is done.


def test_a_name(store: TrustStore, program: Program) -> None:
    program.says("name", BOB.short, "Bob")
    assert program.fails("name", CAROL.short, "BOB").startswith(f"p2p-peer: the peer {BOB} has the name Bob")
    assert "cannot be named" in program.fails("name", CAROL.short, "\x1b[2J")
    assert program.says("name", "bob", "") == [f"{BOB} has no name any more"]
    assert [peer.name for peer in store.peers()] == [None, None]


def test_forgotten(store: TrustStore, program: Program) -> None:
    assert program.says("remove", BOB.short) == [f"the peer {BOB} is forgotten"]
    assert program.says("remove", "mediator.example:54700") == ["the mediator at mediator.example:54700 is forgotten"]
    assert [peer.id for peer in store.peers()] == [CAROL]
    assert store.mediators() == {}
    assert json.loads(*program.says("remove", CAROL.short, "--json")) == {"peers": [], "mediators": []}


def test_where_both_a_peer_and_a_mediator_were(store: TrustStore, program: Program) -> None:
    store.remember("bob.example:8000", MEDIATOR)
    assert program.says("remove", "bob.example:8000") == ["the mediator at bob.example:8000 is forgotten"]
    assert program.says("remove", "bob.example:8000") == [f"the peer {BOB} is forgotten"]


# Words.


def is_verified(store: TrustStore) -> bool:
    peer = store.peer(BOB)
    assert peer is not None
    return peer.verified


@pytest.mark.usefixtures("no_terminal")
def test_verified_without_asking(store: TrustStore, program: Program) -> None:
    assert program.says("verify", "--yes", BOB.short) == [f"the key of {BOB} is verified"]
    assert is_verified(store)


def test_verified_by_comparing(store: TrustStore, program: Program, answers: list[str]) -> None:
    answers += ["", "perhaps", " YES "]
    said = program.says("verify", "bob.example:8000")
    assert said == [
        f"{BOB.short}  {rows(BOB)[0]}",
        f"          {rows(BOB)[1]}",
        f"          {rows(BOB)[2]}",
        "please type yes or no",
        "please type yes or no",
        f"the key of {BOB} is verified",
    ]
    assert is_verified(store)


def test_words_of_both(store: TrustStore, program: Program, answers: list[str], tmp_path: Path) -> None:
    """Of a key that is given, or else of the one that was made for this user."""
    own, other = key(0), key(1)
    write_new_pair(store.folder / "identity", own, None)
    (tmp_path / "pair.pem").write_bytes(private_pem(other))
    (tmp_path / "pair.pem").chmod(0o600)
    (tmp_path / "public.pem").write_bytes(public_pem(other.public_key()))
    for shown, flags in (
        (own, ()),
        (other, ("--key", str(tmp_path / "pair.pem"))),
        (other, ("--key", str(tmp_path / "public.pem"))),
    ):
        answers.append("yes")
        said = program.says("verify", BOB.short, *flags)
        assert [line[10:] for line in said[:6]] == rows(BOB, PeerId.of(shown.public_key()))
        assert said[3].startswith("you       ")


def test_one_letter_is_an_answer(store: TrustStore, program: Program, answers: list[str]) -> None:
    answers.append("y")
    program.says("verify", BOB.short)
    assert is_verified(store)


@pytest.mark.parametrize("answer", ["no", "N"])
def test_other_words(store: TrustStore, program: Program, answers: list[str], answer: str) -> None:
    store.verify(BOB)
    answers.append(answer)
    said = program.fails("verify", BOB.short, code=4)
    assert f"the words are not the same, so the key of {BOB} is not verified" in said
    assert said.endswith(f"p2p-peer trust remove {BOB} --state-dir {store.folder}")
    assert not is_verified(store)


@pytest.mark.usefixtures("answers")
def test_no_answer(store: TrustStore, program: Program) -> None:
    assert "nothing was answered" in program.fails("verify", BOB.short, code=130)
    assert not is_verified(store)


@pytest.mark.usefixtures("no_terminal")
def test_nobody_to_ask(store: TrustStore, program: Program) -> None:
    said = program.fails("verify", BOB.short, shows=BOB.words)
    assert "there is no terminal to ask whether the words are the same" in said
    assert said.endswith(f"p2p-peer trust verify --yes {BOB} --state-dir {store.folder}")
    assert not is_verified(store)


@pytest.mark.usefixtures("answers")
def test_nobody_is_asked_by_a_program(store: TrustStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trust", "verify", BOB.short, "--json", "--state-dir", str(store.folder)]) == 2
    assert json.loads(capsys.readouterr().out)["event"] == "error"
    assert not is_verified(store)


def test_a_key_that_cannot_be_read(store: TrustStore, program: Program, answers: list[str], tmp_path: Path) -> None:
    assert "cannot be read" in program.fails("verify", BOB.short, "--key", str(tmp_path / "nothing"))
    assert answers == []


# The command line.


def test_flags_anywhere() -> None:
    for arguments in (["verify", "--yes", "bob"], ["--yes", "verify", "bob"], ["verify", "bob", "--yes"]):
        options = parse(["trust", *arguments])
        assert (options.command, options.doing, options.who, options.name) == ("trust", "verify", "bob", None)
        assert options.yes
    options = parse(["trust", "--json", "--state-dir", "DIR"])
    assert (options.doing, options.who, options.json, options.state_dir) == ("list", None, True, Path("DIR"))


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["list", "bob"], "list takes nothing more"),
        (["name"], "name takes WHO and NAME"),
        (["name", "bob"], "name takes WHO and NAME"),
        (["verify"], "verify takes WHO"),
        (["verify", "bob", "carol"], "verify takes WHO"),
        (["remove"], "remove takes WHO"),
        (["remove", "bob", "carol"], "remove takes WHO"),
        (["remove", "bob", "--yes"], "--yes and --key are for verify"),
        (["--key", "key.pem"], "--yes and --key are for verify"),
        (["forget", "bob"], "invalid choice"),
        (["remove", "bob", "carol", "dave"], "unrecognized arguments"),
    ],
)
def test_usage(arguments: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(["trust", *arguments])
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("usage: p2p-peer trust")
    assert why in said.err


def test_the_id_of_a_mediator_is_compared(store: TrustStore, program: Program, answers: list[str]) -> None:
    where = "mediator.example:54700"
    answers += ["y", "no"]
    assert program.says("verify", where) == [where, f"  {MEDIATOR}", f"the mediator at {where} is the right one"]
    said = program.fails("verify", where, code=4)
    assert f"trust remove {where}" in said
    assert store.mediators() == {where: MEDIATOR}


@pytest.mark.usefixtures("no_terminal")
def test_nobody_can_be_asked_about_a_mediator(program: Program) -> None:
    said = program.fails("verify", "mediator.example:54700", shows=[str(MEDIATOR)])
    assert "there is no terminal to ask whether the id is right" in said
    assert program.says("verify", "mediator.example:54700", "--yes") == [
        "the mediator at mediator.example:54700 is the right one"
    ]
