"""The folder of authorized keys."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from p2p_core.errors import KeyLocked, UsageError
from p2p_core.identity import PeerId, load_public_key, private_pem, public_pem
from p2p_server import files
from p2p_server.authorized import KeyFolder, KeysUnreadable, admit_anyone, authorize
from p2p_server.revocation import KeyWatch
from p2p_server.tls import load_or_create

from tests import keys
from tests.server.logged import Event, events, lines

PEERS = [PeerId.of(keys.key(n).public_key()) for n in range(3)]
PEMS = [public_pem(keys.key(n).public_key()) for n in range(3)]


def warnings(caplog: pytest.LogCaptureFixture) -> list[Event]:
    found = [event for event in events(caplog) if event["level"] == "warning"]
    caplog.clear()
    return found


def test_a_key_is_admitted_while_its_file_is_there(admit: Callable[..., Path]) -> None:
    folder = KeyFolder(admit(0))
    assert [folder.admits(peer) for peer in PEERS[:2]] == [True, False]
    admit(1)
    assert folder.admits(PEERS[1])
    (admit() / f"{PEERS[0]}.pem").unlink()
    assert [folder.admits(peer) for peer in PEERS[:2]] == [False, True]


def test_a_change_that_leaves_every_time_as_it_was_is_seen(admit: Callable[..., Path]) -> None:
    path = admit(0) / f"{PEERS[0]}.pem"
    folder = KeyFolder(path.parent)
    assert folder.admits(PEERS[0])
    before, around = path.stat(), path.parent.stat()
    path.write_bytes(PEMS[1])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.utime(path.parent, ns=(around.st_atime_ns, around.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert not folder.admits(PEERS[0])
    path.write_bytes(PEMS[0])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert folder.admits(PEERS[0])


def test_a_folder_may_come_and_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "authorized"
    folder = KeyFolder(path)
    assert not folder.admits(PEERS[0])
    path.mkdir()
    (path / f"{PEERS[0]}.pem").write_bytes(PEMS[0])
    assert folder.admits(PEERS[0])
    (path / f"{PEERS[0]}.pem").unlink()
    path.rmdir()
    assert not folder.admits(PEERS[0])
    assert not warnings(caplog)


def _ec_public() -> bytes:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def test_a_file_that_admits_nobody_is_warned_of_once(
    admit: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = admit(0)
    bad = {
        f"{PEERS[1]}.pem": PEMS[0],
        "alice.pem": PEMS[1],
        f"{PEERS[2]}.pem": b"no key",
        "ecdsa.pem": _ec_public(),
        "empty.pem": b"",
        "locked.pem": private_pem(keys.key(3), b"secret"),
        "README": b"text",
    }
    for name, data in bad.items():
        (path / name).write_bytes(data)
    (path / ".gitkeep").touch()
    (path / "folder.pem").mkdir()
    os.mkfifo(path / "pipe.pem")
    (path / "dangling.pem").symlink_to("nowhere")
    folder = KeyFolder(path)
    watch = KeyWatch(folder)
    warned = warnings(caplog)
    assert {event["event"] for event in warned} == {"key-passed-over"}
    told = [event["file"] if "file" in event else f"{event['peer']}.pem" for event in warned]
    assert sorted(map(str, told)) == sorted([*bad, "folder.pem", "pipe.pem", "dangling.pem"])
    assert [folder.admits(peer) for peer in PEERS] == [True, False, False]
    admit(0)
    (path / "another").touch()
    watch.look()
    assert [event["file"] for event in warnings(caplog)] == ["another"]
    assert watch.count == 1


def test_an_unreadable_file_admits_nobody(
    admit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path, _flags: int) -> None:  # root would be let in by the file system
        raise PermissionError(13, "Permission denied", str(path))

    path = admit(0)
    monkeypatch.setattr(files.os, "open", refuse)
    assert not KeyFolder(path).admits(PEERS[0])
    assert [(event["peer"], event["why"]) for event in warnings(caplog)] == [(str(PEERS[0]), "Permission denied")]


@pytest.mark.parametrize("call", ["open", "stat"])
@pytest.mark.parametrize("error", [errno.EMFILE, errno.EIO, errno.ESTALE])
def test_a_file_that_cannot_be_read_now_says_nothing_of_its_key(
    admit: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
    error: int,
) -> None:
    def fail(path: Path, *_flags: int) -> None:
        raise OSError(error, os.strerror(error), str(path))

    folder = KeyFolder(admit(0))
    with monkeypatch.context() as patched:
        patched.setattr(files.os, call, fail)
        for _ in range(2):
            with pytest.raises(KeysUnreadable):
                folder.admits(PEERS[0])
    assert [(event["event"], event["why"]) for event in warnings(caplog)] == [("keys-unreadable", os.strerror(error))]
    assert folder.admits(PEERS[0])


def test_no_peer_id_is_in_a_line_unless_peers_are_shown(
    admit: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = admit()
    for name in (f"{PEERS[0]}.pem", f"{PEERS[1]}.pem.bak", f"old-{PEERS[2]}"):
        (path / name).mkdir()
    KeyWatch(KeyFolder(path))
    hidden, shown = lines(caplog, show_peers=False), lines(caplog, show_peers=True)
    assert hidden.count('event=key-passed-over why="it is a folder"') == 3
    assert [str(peer) in hidden for peer in PEERS] == [False] * 3
    assert [str(peer) in shown for peer in PEERS] == [True] * 3


def test_a_large_file_admits_nobody(admit: Callable[..., Path], caplog: pytest.LogCaptureFixture) -> None:
    path = admit(0) / f"{PEERS[0]}.pem"
    path.write_bytes(PEMS[0] + bytes(1024 * 1024))
    assert not KeyFolder(path.parent).admits(PEERS[0])
    assert ["too large for a PEM file" in str(event["why"]) for event in warnings(caplog)] == [True]


def test_a_key_file_that_turns_bad_is_warned_of_when_its_peer_comes(
    admit: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    path = admit(0) / f"{PEERS[0]}.pem"
    folder = KeyFolder(path.parent)
    path.write_bytes(b"cut sho")
    assert not folder.admits(PEERS[0])
    assert not folder.admits(PEERS[0])
    assert len(warnings(caplog)) == 1


def test_a_key_pair_or_a_certificate_admits_too(tmp_path: Path) -> None:
    (tmp_path / f"{PEERS[0]}.pem").write_bytes(private_pem(keys.key(0)))
    assert KeyFolder(tmp_path).admits(PEERS[0])


def test_open_admits_anyone() -> None:
    assert admit_anyone(PEERS[0])


# authorize


def test_authorize_files_public_halves_under_their_ids(tmp_path: Path) -> None:
    (tmp_path / "pair.pem").write_bytes(private_pem(keys.key(0)))
    (tmp_path / "public.pem").write_bytes(PEMS[1])
    folder = tmp_path / "deep" / "authorized"
    filed = authorize(folder, [tmp_path / "pair.pem", tmp_path / "public.pem"])
    assert filed == [(peer, folder / f"{peer}.pem") for peer in PEERS[:2]]
    assert [path.read_bytes() for _, path in filed] == PEMS[:2]
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{peer}.pem" for peer in PEERS[:2])
    assert filed[0][1].stat().st_mode & 0o777 == 0o644
    assert all(KeyFolder(folder).admits(peer) for peer in PEERS[:2])
    assert authorize(folder, [tmp_path / "pair.pem"])[0] == filed[0]


def test_authorize_writes_nothing_if_one_is_no_key(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.pem", tmp_path / "bad.pem"
    good.write_bytes(PEMS[0])
    bad.write_bytes(b"no key")
    with pytest.raises(UsageError, match=r"bad\.pem"):
        authorize(tmp_path / "authorized", [good, bad])
    with pytest.raises(UsageError, match=r"none\.pem"):
        authorize(tmp_path / "authorized", [good, tmp_path / "none.pem"])
    assert not (tmp_path / "authorized").exists()


def test_authorize_asks_for_the_public_key_of_a_locked_pair(tmp_path: Path) -> None:
    locked = tmp_path / "locked.pem"
    locked.write_bytes(private_pem(keys.key(0), b"secret"))
    with pytest.raises(KeyLocked):
        load_public_key(locked.read_bytes())
    with pytest.raises(UsageError, match="locked with a passphrase"):
        authorize(tmp_path / "authorized", [locked])


def test_the_mediators_own_folder_of_state_is_not_a_folder_of_keys(tmp_path: Path) -> None:
    from datetime import UTC, datetime

    load_or_create(tmp_path / "state", datetime.now(UTC))
    with pytest.raises(UsageError, match="RSA"):
        authorize(tmp_path / "authorized", [tmp_path / "state" / "key.pem"])


def test_the_folders_it_makes_are_for_everybody_to_read(tmp_path: Path) -> None:
    source = tmp_path / "a.pem"
    source.write_bytes(PEMS[0])
    before = os.umask(0o077)
    try:
        authorize(tmp_path / "punchwire" / "authorized", [source])
        private = tmp_path / "private"
        private.mkdir()
        authorize(private, [source])
    finally:
        os.umask(before)
    made = [tmp_path / "punchwire", tmp_path / "punchwire" / "authorized", private]
    assert [path.stat().st_mode & 0o777 for path in made] == [0o755, 0o755, 0o700]  # which was there


def test_a_folder_that_cannot_be_searched_admits_nobody() -> None:
    assert not KeyFolder(Path("k" * 300)).admits(PEERS[0])
