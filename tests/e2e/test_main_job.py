"""The main job with real processes on loopback: what the README promises of `p2p-peer`."""

import os
import signal
import subprocess
from pathlib import Path

from p2p_core.errors import TransferFailed
from p2p_core.safe_names import STAGING_PREFIX

from tests.e2e.conftest import World
from tests.programs import DIRECT, Programs, p2p_peer

HYBRID = "X25519MLKEM768"


def test_a_message_each_way_and_a_file(world: World, tmp_path: Path) -> None:
    content = os.urandom(5 * 2**20 + 3)
    source = tmp_path / "photo one.bin"
    source.write_bytes(content)
    source.chmod(0o640)
    alice = world.start_alice("--message", "hello bob", "--send", source)
    bob = world.start_bob("--message", "hello alice", "--receive", tmp_path / "inbox", "--yes")

    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    one, other = alice.wait_for("connected"), bob.wait_for("connected")
    assert {one["role"], other["role"]} == {"initiator", "responder"}
    assert (one["peer"], other["peer"]) == (str(world.bob.peer), str(world.alice.peer))
    for event in (one, other):
        assert event["path"] in DIRECT
        assert event["key_exchange"] == HYBRID
        assert 0 < event["seconds"] < 10
    assert bob.wait_for("message") == {"event": "message", "from": str(world.alice.peer), "text": "hello bob"}
    assert alice.wait_for("message")["text"] == "hello alice"

    received = bob.wait_for("transfer_received")
    [stored] = map(Path, received["paths"])
    assert stored == tmp_path / "inbox" / "photo one.bin"
    assert stored.read_bytes() == content
    assert stored.stat().st_mode & 0o777 == 0o640
    assert stored.stat().st_mtime_ns == source.stat().st_mtime_ns
    offered = bob.wait_for("transfer_offered")
    assert (offered["label"], offered["entries"], offered["size"]) == ("photo one.bin", 1, len(content))
    assert offered["items"] == [{"name": "photo one.bin", "kind": "file", "size": len(content)}]
    assert alice.all("transfer_progress")[-1]["bytes"] == len(content) == alice.all("transfer_progress")[-1]["total"]
    for done in (alice.wait_for("transfer_sent"), received):
        assert (done["label"], done["files"], done["failed"]) == ("photo one.bin", 1, 0)
        assert done["size"] == done["moved"] == len(content)
    assert [event["event"] for event in alice.events][-1] == "closed"
    assert list(stored.parent.iterdir()) == [stored]


def test_events_come_in_the_order_of_the_story(world: World) -> None:
    alice, bob = world.start_alice("--message", "one"), world.start_bob("--message", "two")
    for peer in (alice, bob):
        assert peer.exit_code() == 0
        kinds = [event["event"] for event in peer.events]
        assert kinds == ["mediator_pinned", "waiting", "matched", "connected", "message", "closed"]


def test_lines_of_a_pipe_are_messages_both_ways(world: World) -> None:
    alice = world.start_alice(stdin=subprocess.PIPE)
    bob = world.start_bob(stdin=subprocess.PIPE)
    lines = {
        alice: ["a line", "/quit", "", "grüße 👋", "no newline at the end"],
        bob: [f"line {n}" for n in range(200)],
    }
    for peer, texts in lines.items():
        assert peer.process.stdin is not None
        peer.process.stdin.write("\n".join(texts))
        peer.process.stdin.close()
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    assert [event["text"] for event in bob.all("message")] == lines[alice]
    assert [event["text"] for event in alice.all("message")] == lines[bob]


def test_an_errand_lets_a_pipe_say_what_it_has_to_say(world: World) -> None:
    alice = world.start_alice(stdin=subprocess.PIPE)
    bob = world.start_bob("--message", "done before you have begun")
    lines = [f"line {n}" for n in range(300)]
    assert alice.process.stdin is not None
    alice.process.stdin.write("\n".join(lines))
    alice.process.stdin.close()
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    assert [event["text"] for event in bob.all("message")] == lines


def test_a_pipe_at_its_end_waits_for_the_other_side(world: World) -> None:
    alice = world.start_alice(stdin=subprocess.DEVNULL)
    bob = world.start_bob(stdin=subprocess.PIPE)
    bob.wait_for("connected")
    assert bob.process.stdin is not None
    bob.process.stdin.write("late\n")
    bob.process.stdin.flush()
    assert alice.wait_for("message")["text"] == "late"
    assert alice.process.poll() is None
    bob.process.stdin.close()
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)


def test_a_taken_name_is_never_overwritten(world: World, tmp_path: Path) -> None:
    source = tmp_path / "notes.txt"
    source.write_text("new")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    (inbox / "notes.txt").write_text("old")
    alice = world.start_alice("--send", source)
    bob = world.start_bob("--receive", inbox, "--yes")
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    assert (inbox / "notes.txt").read_text() == "old"
    [stored] = map(Path, bob.wait_for("transfer_received")["paths"])
    assert (stored.name, stored.read_text()) == ("notes (1).txt", "new")


def test_several_files_are_one_transfer(world: World, tmp_path: Path) -> None:
    sources = [tmp_path / f"{size}.bin" for size in (0, 1, 2**20, 2**20 + 1)]
    for source in sources:
        source.write_bytes(os.urandom(int(source.stem)))
    alice = world.start_alice(*(part for source in sources for part in ("--send", source)))
    bob = world.start_bob("--yes", cwd=_new(tmp_path / "inbox"))
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    assert {path.name: path.read_bytes() for path in (tmp_path / "inbox").iterdir()} == {
        source.name: source.read_bytes() for source in sources
    }
    assert bob.wait_for("transfer_received")["files"] == 4


def test_interrupted_with_a_file_under_way(world: World, tmp_path: Path) -> None:
    source = _sparse(tmp_path / "big.bin", 8 * 2**30)
    inbox = _new(tmp_path / "inbox")
    alice = world.start_alice("--send", source)
    bob = world.start_bob("--receive", inbox, "--yes")
    bob.in_the_middle()
    alice.process.send_signal(signal.SIGINT)
    assert alice.exit_code() == 130
    assert bob.exit_code() == 8
    error = alice.wait_for("error")
    assert (error["code"], error["advice"]) == ("interrupted", TransferFailed.advice)
    [kept] = inbox.iterdir()  # to go on with
    assert kept.name.startswith(STAGING_PREFIX)
    assert bob.wait_for("transfer_failed")["kept"] == str(kept)


def test_the_session_outlives_the_mediator(world: World) -> None:
    alice = world.start_alice(stdin=subprocess.PIPE)
    bob = world.start_bob(stdin=subprocess.DEVNULL)
    alice.wait_for("connected")
    bob.wait_for("connected")
    assert world.mediator.stop() == 0
    assert alice.process.stdin is not None
    alice.process.stdin.write("still there?\n")
    alice.process.stdin.close()
    assert bob.wait_for("message")["text"] == "still there?"
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)


def test_without_tls_to_the_mediator(programs: Programs, world: World, tmp_path: Path) -> None:
    world.mediator = programs.mediator(tmp_path / "plain", [world.alice, world.bob], "--insecure")
    alice = world.start_alice("--insecure", "--message", "over plaintext")
    bob = world.start_bob("--insecure", "--message", "me too")
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    assert alice.first("mediator_pinned") is None


def test_output_for_people_has_messages_on_stdout_only(world: World) -> None:
    where = [world.mediator.host, str(world.mediator.port)]
    keys = [world.alice.pair, world.bob.public, "--state-dir", world.alice.folder / "state"]
    alice = world.programs.enter_context(
        subprocess.Popen(
            p2p_peer(*where, *keys, "--message", "hi"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
    bob = world.start_bob("--message", "evil \x1b[31mred")
    out, err = alice.communicate(timeout=60)
    assert (alice.returncode, bob.exit_code()) == (0, 0)
    assert out == "evil \\x1b[31mred\n"
    assert HYBRID in err
    assert world.bob.peer.short in err


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _sparse(path: Path, size: int) -> Path:
    """A file that takes no room here, and longer to send than any test waits."""
    with path.open("wb") as file:
        file.truncate(size)
    return path
