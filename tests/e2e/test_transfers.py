"""What can be sent in one transfer, how it arrives, and what the flags make of it: real processes on loopback."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import World
from tests.programs import PATIENCE, Keys, end, p2p_peer
from tests.terminal import Terminal
from tests.trees import contents

OLD = 1_600_000_000_123_456_789  # ns
STREAM = os.urandom(2 * 2**20 + 7)
NAMES = ("plain", "with a space", "größe", "файл", "写真", "ملف", "🎻.txt", "-rf", "a'$`b")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with a bit of everything."""
    tree = tmp_path / "tree"
    (tree / "sub" / "deeper").mkdir(parents=True)
    (tree / "empty").mkdir()
    (tree / "empty file").touch()
    for number, name in enumerate(NAMES):
        (tree / name).write_bytes(name.encode() * number)
    (tree / "sub" / "large").write_bytes(os.urandom(2**20 + 1))
    (tree / "sub" / "deeper" / "run.sh").write_text("#!/bin/sh\n")
    (tree / "sub" / "deeper" / "run.sh").chmod(0o755)
    (tree / "sub" / "large").chmod(0o640)
    (tree / "sub" / "to plain").symlink_to("../plain")
    for path in (*tree.rglob("*"), tree):
        if not path.is_symlink():
            os.utime(path, ns=(OLD, OLD + len(path.name)))
    return tree


class Person:
    """A side as people use it: what it says is text, and standard input and output are for bytes."""

    def __init__(self, world: World, own: Keys, other: Keys, *flags: str | Path, **options: Any) -> None:
        mediator = world.mediator
        where = (mediator.host, str(mediator.port), own.pair, other.public, "--state-dir", own.folder / "state")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        self.process: subprocess.Popen[bytes] = subprocess.Popen(p2p_peer(*where, *flags), **pipes)
        world.programs.callback(end, self.process)

    def goes_on(self, given: bytes = b"") -> tuple[int, bytes, str]:
        """Give it its input; return the exit code, its output, and what it said."""
        output, said = self.process.communicate(given, timeout=2 * PATIENCE)
        return self.process.returncode, output, said.decode()


def verified(receipt: str | Path, file: Path) -> tuple[int, dict[str, Any]]:
    """Ask `p2p-peer verify`; return its exit code, and what it found."""
    done = subprocess.run(p2p_peer("verify", receipt, file, "--json"), capture_output=True, check=False)
    return done.returncode, json.loads(done.stdout)


def last_of_history(own: Keys) -> dict[str, Any]:
    lines = (own.folder / "state" / "history.jsonl").read_text().splitlines()
    past: dict[str, Any] = json.loads(lines[-1])
    return past


def test_a_folder_a_file_and_standard_input(world: World, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("beside it")
    sent = contents(tree)
    (tree / "out").symlink_to("../file")
    (tree / ".hidden").touch()
    os.mkfifo(tree / "sub" / "pipe")
    os.utime(tree, ns=(OLD, OLD + 4))
    os.utime(tree / "sub", ns=(OLD, OLD + 3))
    bob = world.start_bob("--receive", tmp_path / "inbox", "--yes")
    alice = Person(world, world.alice, world.bob, "--send", tree, tmp_path / "file", "-")
    code, output, said = alice.goes_on(STREAM)
    assert (code, output, bob.exit_code()) == (0, b"", 0)
    inbox = tmp_path / "inbox"
    assert sorted(path.name for path in inbox.iterdir()) == ["file", "stdin", "tree"]
    assert contents(inbox / "tree") == sent
    assert (inbox / "file").read_text() == "beside it"
    assert (inbox / "stdin").read_bytes() == STREAM
    for left_out in ("tree/out", "tree/.hidden", "tree/sub/pipe"):
        assert any("left out" in line and line.endswith(left_out) for line in said.splitlines()), said

    offered, received = bob.wait_for("transfer_offered"), bob.wait_for("transfer_received")
    assert [(item["name"], item["kind"]) for item in offered["items"]] == [
        ("tree", "folder"),
        ("file", "file"),
        ("stdin", "stream"),
    ]
    assert received["paths"] == [str(inbox / name) for name in ("tree", "file", "stdin")]
    assert received["files"] == offered["files"] == len(NAMES) + 3 + 2
    _check_receipts(world, received, inbox)


def _check_receipts(world: World, received: dict[str, Any], inbox: Path) -> None:
    """Both sides have a receipt and a line in their history, and both receipts say the same of a file."""
    there, here = last_of_history(world.alice), last_of_history(world.bob)
    assert here["receipt"] == received["receipt"]
    assert (there["direction"], here["direction"]) == ("sent", "received")
    for past in (there, here):
        assert (past["files"], past["bytes"], past["failed"]) == (received["files"], received["size"], 0)
        for name in ("tree/sub/large", "stdin"):
            code, found = verified(past["receipt"], inbox / name)
            assert (code, found["verified"], found["path"]) == (0, True, name)
            assert (found["sender"], found["receiver"]) == (str(world.alice.peer), str(world.bob.peer))
    other = inbox / "tree" / "sub" / "large"
    other.write_bytes(b"other" + other.read_bytes()[5:])
    code, found = verified(received["receipt"], other)
    assert (code, found["verified"], found["code"]) == (8, False, "file-differs")


def test_what_is_hidden_and_what_is_excluded(world: World, tmp_path: Path) -> None:
    tree, named = tmp_path / "tree", tmp_path / ".profile"
    for name in (".git/config", ".hidden", "a.tmp", "sub/b.tmp", "sub/cache/c", "sub/kept"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    named.write_text("named itself")
    alice = world.start_alice("--send", tree, named, "--include-hidden", "--exclude", "*.tmp", "--exclude", "cache")
    bob = world.start_bob("--receive", tmp_path / "inbox", "--yes")
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    inbox = tmp_path / "inbox"
    assert {str(path.relative_to(inbox)) for path in inbox.rglob("*") if path.is_file()} == {
        "profile",  # nothing becomes a dot file
        "tree/.git/config",
        "tree/.hidden",
        "tree/sub/kept",
    }


# Standard input and output.


@pytest.mark.parametrize("what", ["file", "stream"])
def test_to_standard_output(world: World, tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_bytes(STREAM)
    bob = Person(world, world.bob, world.alice, "--receive", "-", "--yes", stdin=subprocess.DEVNULL)
    alice = Person(world, world.alice, world.bob, "--send", "-" if what == "stream" else tmp_path / "file")
    with ThreadPoolExecutor() as at_once:
        sending = at_once.submit(alice.goes_on, STREAM if what == "stream" else b"")
        code, output, said = bob.goes_on()
    assert (code, output == STREAM) == (0, True)
    assert "received" in said
    assert sending.result()[0] == 0


def test_a_reader_of_standard_output_that_has_read_enough(world: World, tmp_path: Path) -> None:
    """As in `p2p-peer … --receive - | head -c 1000`."""
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**30)
    bob = Person(world, world.bob, world.alice, "--receive", "-", "--yes", stdin=subprocess.DEVNULL)
    alice = world.start_alice("--send", tmp_path / "large")
    assert bob.process.stdout is not None
    assert bob.process.stdout.read(1000) == bytes(1000)
    bob.process.stdout.close()
    bob.process.stdout = None
    code, _, said = bob.goes_on()
    assert code == 8
    assert "Traceback" not in said
    assert alice.exit_code() == 8
    assert alice.wait_for("error")["code"] == "transfer-failed"


# What is there already.


@pytest.mark.parametrize("how", ["never", "always", "rename", "in place"])
def test_what_is_there_already(world: World, tmp_path: Path, how: str) -> None:
    tree, inbox = tmp_path / "tree", tmp_path / "inbox"
    old, new = "old" * 2**20, "new" * 2**20
    for folder, text in ((tree, new), (inbox / "tree", old)):
        folder.mkdir(parents=True)
        (folder / "a").write_text(text)
    (tree / "b").write_text("new")
    (inbox / "tree" / "c").write_text("old")
    inode = (inbox / "tree" / "a").stat().st_ino
    flags = ("--overwrite", "always", "--in-place") if how == "in place" else ("--overwrite", how)
    alice = world.start_alice("--send", tree)
    bob = world.start_bob("--receive", inbox, "--yes", *flags)
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    found = {str(path.relative_to(inbox)): path.read_text() for path in inbox.rglob("*") if path.is_file()}
    assert (
        found
        == {
            "never": {"tree/a": old, "tree/b": "new", "tree/c": "old"},
            "always": {"tree/a": new, "tree/b": "new", "tree/c": "old"},
            "in place": {"tree/a": new, "tree/b": "new", "tree/c": "old"},
            "rename": {"tree/a": old, "tree/c": "old", "tree (1)/a": new, "tree (1)/b": "new"},
        }[how]
    )
    assert ((inbox / "tree" / "a").stat().st_ino == inode) is (how != "always")
    if how == "never":
        assert bob.wait_for("files_kept")["examples"] == ["tree/a"]
    moved = 3 if how == "never" else len(new) + 3
    for done in (alice.wait_for("transfer_sent"), bob.wait_for("transfer_received")):
        assert (done["moved"], done["files"], done["offered"]) == (moved, 1 if how == "never" else 2, 2)


def test_some_of_it_is_accepted_at_a_terminal_and_replaces_what_is_there(world: World, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in "abcd":
        (tree / name).write_text(f"new {name}")
    there = tmp_path / "bob" / "inbox" / "tree" / "a"
    there.parent.mkdir(parents=True)
    there.write_text("old")
    alice = world.start_alice("--send", tree)
    where = [world.mediator.host, str(world.mediator.port), world.bob.pair, world.alice.public]
    flags = ["--state-dir", world.bob.folder / "state", "--receive", "inbox", "--overwrite", "ask"]
    with Terminal(p2p_peer(*where, *flags), tmp_path / "bob") as bob:
        bob.shows("accept tree/ (4 files, 20 B)?")
        bob.types("5")  # there is none
        bob.shows("accept tree/ (4 files, 20 B)?")
        bob.types("1,3-4")
        bob.shows("1 of these exists: replace it, keep it, or give a new name? [r/k/n]")
        bob.types("r")
        assert bob.process.wait(PATIENCE) == 0
    assert alice.exit_code() == 0
    sent = alice.wait_for("transfer_sent")
    assert (sent["files"], sent["failed"], sent["offered"]) == (3, 0, 4)
    assert {path.name: path.read_text() for path in there.parent.iterdir()} == {n: f"new {n}" for n in "acd"}


# How much, and how fast.


@pytest.mark.parametrize("what", ["file", "stream"])
def test_more_than_is_taken_unasked(world: World, tmp_path: Path, what: str) -> None:
    (tmp_path / "file").write_bytes(bytes(2001))
    sent = "-" if what == "stream" else tmp_path / "file"
    alice = world.start_alice("--send", sent, stdin=subprocess.DEVNULL)
    bob = world.start_bob("--receive", tmp_path / "inbox", "--yes", "--max-size", "2k")
    assert (alice.exit_code(), bob.exit_code()) == (7, 7)
    for peer in (alice, bob):
        error = peer.wait_for("error")
        assert error["code"] == "refused"
        assert "at most 2.0 kB are taken here" in error["message"]
    assert list((tmp_path / "inbox").iterdir()) == []


def test_a_limited_rate(world: World, tmp_path: Path) -> None:
    """2 MB at 1 MB/s take 2 s, less what may go at once in the beginning."""
    (tmp_path / "file").write_bytes(os.urandom(2_000_000))
    alice = world.start_alice("--send", tmp_path / "file", "--limit-rate", "1M", "--message", "before it")
    bob = world.start_bob("--receive", tmp_path / "inbox", "--yes")
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    assert alice.wait_for("transfer_sent")["seconds"] >= 1.5
    assert (tmp_path / "inbox" / "file").read_bytes() == (tmp_path / "file").read_bytes()


def test_both_ways_at_once(world: World, tmp_path: Path) -> None:
    peers = {}
    for name, start in (("alice", world.start_alice), ("bob", world.start_bob)):
        (tmp_path / f"from {name}").write_bytes(os.urandom(3 * 2**20))
        job = ("--send", tmp_path / f"from {name}", "--receive", tmp_path / f"to {name}", "--yes")
        peers[name] = start(*job, "--message", f"from {name}", "--limit-rate", "1500k")  # 2 s
    assert {name: peer.exit_code() for name, peer in peers.items()} == {"alice": 0, "bob": 0}
    for name, other in (("alice", "bob"), ("bob", "alice")):
        assert (tmp_path / f"to {name}" / f"from {other}").read_bytes() == (tmp_path / f"from {other}").read_bytes()
        assert peers[name].wait_for("message")["text"] == f"from {other}"
        kinds = [event["event"] for event in peers[name].events]
        first_end = min(kinds.index("transfer_sent"), kinds.index("transfer_received"))
        under_way = {e["direction"] for e in peers[name].events[:first_end] if e["event"] == "transfer_progress"}
        assert under_way == {"sent", "received"}  # neither waited for the other to end
