"""Every exit code of `p2p-peer`, from real processes. 6, no path, is in tests/lab: loopback always has one."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import World
from tests.programs import Keys, Programs, p2p_peer


def test_usage_is_2(world: World, tmp_path: Path) -> None:
    where = [world.mediator.host, str(world.mediator.port)]
    alice, bob = world.alice, world.bob
    missing = tmp_path / "missing"
    broken = tmp_path / "broken.pem"
    broken.write_text("no key")
    for arguments in (
        [],
        ["nonsense"],
        [world.mediator.host, "no port", alice.pair, bob.public],
        [*where, missing, bob.public],
        [*where, broken, bob.public],
        [*where, alice.public, bob.public],
        [*where, alice.pair, broken],
        [*where, alice.pair, alice.public],
        [*where, alice.pair, bob.public, "--send", missing],
        [*where, alice.pair, bob.public, "--receive", broken],
        [*where, alice.pair, bob.public, "--wait", "-1"],
        [*where, alice.pair, bob.public, "--mediator-id", "nonsense"],
        [*where, alice.pair, bob.public, "--mediator-id", world.mediator.id, "--insecure"],
    ):
        done = _run(*arguments)
        assert done.returncode == 2, arguments
        assert "Traceback" not in done.stderr


def test_a_locked_key_without_a_passphrase_is_2_and_with_one_works(world: World, tmp_path: Path) -> None:
    environment = os.environ | {"P2P_PEER_PASSPHRASE": "correct horse"}
    locked = tmp_path / "locked"
    subprocess.run(p2p_peer("keygen", locked, "--passphrase"), env=environment, check=True, stdout=subprocess.DEVNULL)
    arguments = [world.mediator.host, str(world.mediator.port), locked / "key.pem", world.bob.public]
    done = _run(*arguments)
    assert done.returncode == 2
    assert "passphrase" in done.stderr
    wrong = _run(*arguments, env=os.environ | {"P2P_PEER_PASSPHRASE": "wrong"})
    assert (wrong.returncode, "passphrase" in wrong.stderr) == (2, True)
    # Unlocked, it gets as far as the mediator, which does not admit it.
    assert _run(*arguments, env=environment).returncode == 4


def test_nobody_listening_is_3(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = _run("127.0.0.1", str(port), world.alice.pair, world.bob.public)
    assert done.returncode == 3
    assert "cannot reach a mediator" in done.stderr


def test_not_a_mediator_is_3(world: World) -> None:
    """A STUN responder takes connections, and speaks something else."""
    done = _run(world.mediator.host, str(world.mediator.stun_port), world.alice.pair, world.bob.public)
    assert done.returncode == 3


def test_a_key_that_is_not_admitted_is_4(world: World, tmp_path: Path) -> None:
    stranger = Keys.make(tmp_path / "stranger")
    peer = world.programs.peer("stranger", world.mediator, stranger, world.bob)
    assert peer.exit_code() == 4
    assert peer.wait_for("error")["code"] == "not-admitted"


def test_a_mediator_whose_key_changed_is_4_and_a_renewed_certificate_is_not(
    programs: Programs, world: World, tmp_path: Path
) -> None:
    alice = world.start_alice("--wait", "0.1")
    assert alice.exit_code() == 5
    port = world.mediator.port
    assert world.mediator.stop() == 0
    admitted = [world.alice, world.bob]
    world.mediator = programs.mediator(tmp_path / "mediator", admitted, "--port", str(port))
    assert world.start_alice("--wait", "0.1").exit_code() == 5
    assert world.mediator.stop() == 0
    world.mediator = programs.mediator(tmp_path / "another", admitted, "--port", str(port))
    alice = world.start_alice("--wait", "0.1")
    assert alice.exit_code() == 4
    assert alice.wait_for("error")["code"] == "mediator-key-changed"
    assert world.start_alice("--wait", "0.1", "--mediator-id", world.mediator.id).exit_code() == 5


def test_a_second_process_with_the_same_key_takes_the_place_of_the_first(world: World) -> None:
    first = world.start_alice()
    first.wait_for("waiting")
    second = world.start_alice("--message", "from the second")
    assert first.exit_code() == 4
    assert first.wait_for("error")["code"] == "replaced"
    assert world.start_bob("--message", "to whoever is there").exit_code() == 0
    assert second.exit_code() == 0


def test_nobody_comes_is_5(world: World) -> None:
    alice = world.start_alice("--wait", "0.2")
    assert alice.exit_code() == 5
    assert [event["event"] for event in alice.events] == ["mediator_pinned", "waiting", "error"]
    assert world.start_alice("--timeout", "0.9").exit_code() == 5


def test_a_refused_file_is_7(world: World, tmp_path: Path) -> None:
    """Without a terminal nobody can be asked, so without --yes nothing is taken."""
    source = tmp_path / "file"
    source.write_text("content")
    alice = world.start_alice("--send", source)
    bob = world.start_bob("--receive", tmp_path / "inbox")
    assert (alice.exit_code(), bob.exit_code()) == (7, 7)
    assert alice.wait_for("error")["code"] == "refused"
    assert list((tmp_path / "inbox").iterdir()) == []


def test_two_that_only_receive_do_not_wait_for_each_other(world: World, tmp_path: Path) -> None:
    alice = world.start_alice("--receive", tmp_path / "a", "--yes")
    bob = world.start_bob("--receive", tmp_path / "b", "--yes")
    assert (alice.exit_code(), bob.exit_code()) == (8, 8)


def test_no_file_comes_is_8(world: World, tmp_path: Path) -> None:
    alice = world.start_alice("--message", "only words")
    bob = world.start_bob("--receive", tmp_path / "inbox", "--yes")
    assert (alice.exit_code(), bob.exit_code()) == (0, 8)


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="mounting takes root")
def test_a_full_disk_is_8_on_both_sides(world: World, tmp_path: Path) -> None:
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
    assert list(inbox.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_is_130(world: World, number: signal.Signals) -> None:
    alice = world.start_alice()
    alice.wait_for("waiting")
    alice.process.send_signal(number)
    assert alice.exit_code() == 130


@pytest.mark.parametrize("at_its_end", [False, True])
def test_interrupted_in_a_chat_the_other_side_is_told(world: World, at_its_end: bool) -> None:
    """Its own lines may all have arrived; what it was to hear was cut off, and a script has to know."""
    alice = world.start_alice(stdin=subprocess.PIPE)
    bob = world.start_bob(stdin=subprocess.DEVNULL if at_its_end else subprocess.PIPE)
    assert alice.process.stdin is not None
    alice.process.stdin.write("the first half\n")
    alice.process.stdin.flush()
    bob.wait_for("message")
    alice.process.send_signal(signal.SIGINT)
    assert (alice.exit_code(), bob.exit_code()) == (130, 6)
    assert "broke off" in bob.all("error")[0]["message"]


def _run(*arguments: str | Path, env: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        p2p_peer(*arguments), env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False
    )
