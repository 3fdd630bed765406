"""What `p2p-peer` leaves on the disk is its user's alone, whatever the umask; what is not is refused."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import World
from tests.programs import p2p_peer

OTHERS = stat.S_IRWXG | stat.S_IRWXO


@pytest.mark.parametrize("umask", [0, 0o077])
def test_after_a_session(world: World, tmp_path: Path, umask: int) -> None:
    (tmp_path / "letter").write_text("hello")
    received = tmp_path / "received"
    received.mkdir()
    states = [tmp_path / name / "deep" / "state" for name in ("alice", "bob")]
    peers = (
        world.start_alice("--send", tmp_path / "letter", "--state-dir", states[0], umask=umask),
        world.start_bob("--receive", received, "--yes", "--state-dir", states[1], umask=umask),
    )
    assert [peer.exit_code() for peer in peers] == [0, 0]
    for state in states:
        made = [state.parent.parent, state.parent, state, *state.rglob("*")]
        assert {path.name for path in made} >= {"trust.json", "receipts", "history.jsonl"}
        assert {path.name: oct(path.stat().st_mode) for path in made if path.stat().st_mode & OTHERS} == {}
    assert stat.S_IMODE((received / "letter").stat().st_mode) == 0o666 & ~umask & (tmp_path / "letter").stat().st_mode


@pytest.mark.parametrize("what", ["a pipe", "for all", "a link"])
def test_what_arrived_stays_where_no_receipt_can_be_kept(world: World, tmp_path: Path, what: str) -> None:
    """The transfer is not lost by it, and nothing waits."""
    (tmp_path / "letter").write_text("hello")
    received, state, elsewhere = tmp_path / "received", tmp_path / "state", tmp_path / "elsewhere"
    received.mkdir()
    (state / "receipts").mkdir(parents=True)
    (state / "receipts").chmod(0o777)
    history = state / "history.jsonl"
    match what:
        case "a pipe":
            os.mkfifo(history)
            why = f"{history} cannot be written to: "
        case "for all":
            history.touch()
            history.chmod(0o666)
            why = "other users of this computer can write to"
        case "a link":
            history.symlink_to(elsewhere)
            why = f"{history} cannot be written to: "
    with (tmp_path / "said").open("wb") as said:
        world.start_alice("--send", tmp_path / "letter", "--state-dir", tmp_path / "alice")
        bob = world.start_bob("--receive", received, "--yes", "--state-dir", state, stderr=said)
        assert bob.exit_code() == 0
    assert (received / "letter").read_text() == "hello"
    assert bob.all("transfer_received")[0]["receipt"] is None
    lines = (tmp_path / "said").read_text().splitlines()
    assert f"the receipt is not kept: other users of this computer can write to {state / 'receipts'}, so" in lines[0]
    assert lines[1].startswith("the history does not tell of it: ")
    assert why in lines[1]
    assert list((state / "receipts").iterdir()) == []
    assert not elsewhere.exists()
    assert not history.is_file() or history.read_bytes() == b""


@pytest.mark.parametrize("umask", [0, 0o077])
def test_a_new_pair(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "keys" / "alice"
    made = subprocess.run(p2p_peer("keygen", folder, "--bits", "2048"), umask=umask, check=True)
    assert made.returncode == 0
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"key.pem": 0o600, "public.pem": 0o644 & ~umask}
    assert [stat.S_IMODE(each.stat().st_mode) for each in (folder.parent, folder)] == [0o700, 0o700]


def test_a_link_in_the_place_of_a_new_pair_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "alice").mkdir(0o700)
    (tmp_path / "alice" / "key.pem").symlink_to(tmp_path / "elsewhere")
    made = subprocess.run(p2p_peer("keygen", tmp_path / "alice", "--bits", "2048"), capture_output=True, check=False)
    assert made.returncode == 2
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("name", [".", "identity", "identity/key.pem", "trust.json"])
def test_what_another_user_owns(tmp_path: Path, name: str) -> None:
    state = tmp_path / "state"
    meet = p2p_peer("direct", "-t", "127.0.0.1:9", "-m", "1", "--wait", "0.1", "--state-dir", state)
    assert subprocess.run(meet, capture_output=True, check=False).returncode != 2  # nobody is there
    (state / "trust.json").touch(0o600)
    os.chown(state / name, 4321, -1)
    done = subprocess.run(meet, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"{state / name} belongs to another user of this computer, so nothing in it is believed" in done.stderr
