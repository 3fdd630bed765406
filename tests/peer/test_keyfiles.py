import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from p2p_core.errors import KeyLocked, KeyUnfit, KeyUnreadable, NotPrivate, UsageError
from p2p_core.identity import private_pem, public_pem
from p2p_peer import keyfiles
from p2p_peer.channel.certificate import ThrowawayCertificate
from p2p_peer.keyfiles import read_key_pair, read_public_key, write_new_pair

from tests.keys import key

PAIR = key(0)
PRIVATE, PUBLIC = private_pem(PAIR), public_pem(PAIR.public_key())
LOCKED = private_pem(PAIR, b"secret")


def never(path: Path) -> bytes | None:
    pytest.fail(f"asked for the passphrase of {path}")


def nobody(path: Path) -> bytes | None:
    return None


def says(secret: bytes) -> Callable[[Path], bytes | None]:
    return lambda path: secret


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "key.pem"
        path.write_bytes(content)
        path.chmod(0o600)
        return path

    return write


def test_reads_what_it_should(file: Callable[[bytes], Path]) -> None:
    assert read_key_pair(file(PRIVATE), never).private_numbers() == PAIR.private_numbers()
    pkcs1 = PAIR.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert read_key_pair(file(pkcs1), never).private_numbers() == PAIR.private_numbers()
    for content in (PUBLIC, PRIVATE):
        assert read_public_key(file(content), never) == PAIR.public_key()


@pytest.mark.parametrize("read", [read_key_pair, read_public_key])
def test_a_locked_pair(file: Callable[[bytes], Path], read: Callable[..., object]) -> None:
    path = file(LOCKED)
    read(path, says(b"secret"))
    with pytest.raises(KeyLocked, match=f"{path}: the key pair is locked"):
        read(path, nobody)
    with pytest.raises(KeyLocked, match=f"{path}: the passphrase does not open"):
        read(path, says(b"wrong"))


def test_a_locked_pair_of_somebody_else(file: Callable[[bytes], Path]) -> None:
    path = file(LOCKED)
    with pytest.raises(KeyLocked, match=f"{path}: the key pair is locked") as caught:
        read_public_key(path)
    assert "public.pem" in caught.value.advice


def curve() -> bytes:
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def curve_public() -> bytes:
    return (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


def short() -> bytes:
    return rsa.generate_private_key(65537, 1024).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def curve_certificate() -> bytes:
    return ThrowawayCertificate.make().certificate.public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (lambda: b"", KeyUnreadable),
        (lambda: b"\x00\xff garbage", KeyUnreadable),
        (lambda: PRIVATE[:200], KeyUnreadable),
        (lambda: PUBLIC, KeyUnreadable),
        (curve_certificate, KeyUnreadable),
        (curve, KeyUnfit),
        (short, KeyUnfit),
    ],
)
def test_what_is_no_key_pair(
    file: Callable[[bytes], Path], content: Callable[[], bytes], error: type[UsageError]
) -> None:
    path = file(content())
    with pytest.raises(error, match=str(path)):
        read_key_pair(path, never)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (lambda: b"", KeyUnreadable),
        (lambda: b"\x00\xff garbage", KeyUnreadable),
        (lambda: PUBLIC[:100], KeyUnreadable),
        (curve_public, KeyUnfit),
        (curve_certificate, KeyUnfit),
        (curve, KeyUnfit),
        (short, KeyUnfit),
    ],
)
def test_what_is_no_public_key(
    file: Callable[[bytes], Path], content: Callable[[], bytes], error: type[UsageError]
) -> None:
    path = file(content())
    with pytest.raises(error, match=str(path)):
        read_public_key(path, never)


@pytest.mark.parametrize("name", ["nothing", "."])
def test_what_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyUnreadable, match="cannot be read"):
        read_key_pair(tmp_path / name, never)
    with pytest.raises(KeyUnreadable, match="cannot be read"):
        read_public_key(tmp_path / name, never)


def test_a_pipe_and_a_device_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(KeyUnreadable, match=f"{path} cannot be read: it is not a regular file"):
            read_key_pair(path, never)


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(KeyUnreadable, match=f"{tmp_path} cannot be read: it is a folder"):
        read_key_pair(tmp_path, never)


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(PRIVATE + bytes(64 * 1024))
    path.chmod(0o600)
    with pytest.raises(KeyUnreadable, match=f"{path} is too large for a key"):
        read_key_pair(path, never)


@pytest.mark.parametrize(("mode", "is_open"), [(0o600, False), (0o400, False), (0o640, True), (0o620, True)])
def test_one_that_others_may_read_or_write_is_refused(file: Callable[[bytes], Path], mode: int, is_open: bool) -> None:
    path = file(PRIVATE)
    path.chmod(mode)
    if is_open:
        with pytest.raises(NotPrivate, match=f"other users of this computer .*{path}") as caught:
            read_key_pair(path, never)
        assert f"chmod 600 {path}" in caught.value.advice
    else:
        assert read_key_pair(path, never).private_numbers() == PAIR.private_numbers()
    assert read_public_key(path).public_numbers() == PAIR.public_key().public_numbers()  # which is no secret


def test_a_pair_of_ours_is_refused_whatever_it_is_read_for(file: Callable[[bytes], Path]) -> None:
    path = file(PRIVATE)
    path.chmod(0o644)
    with pytest.raises(NotPrivate, match=f"may be able to read {path}"):
        read_public_key(path, never)


@pytest.mark.parametrize("read", [lambda path: read_key_pair(path, never), read_public_key])
def test_one_that_everybody_can_exchange_is_refused(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = tmp_path / "keys" / "mine" / "key.pem"
    write_new_pair(path.parent, PAIR, None)
    for folder in (path.parent, path.parent.parent):
        folder.chmod(0o777)
        with pytest.raises(NotPrivate, match=f"can write to {folder}, and so put something else in .* of {path}$"):
            read(path)
        folder.chmod(0o1777)  # as /tmp: nobody else can take it away
        read(path)


def test_by_a_link_that_everybody_can_exchange(file: Callable[[bytes], Path], tmp_path: Path) -> None:
    path, link = file(PRIVATE), tmp_path / "open" / "link"
    link.parent.mkdir()
    link.symlink_to(path)
    read_key_pair(link, never)
    link.parent.chmod(0o777)
    with pytest.raises(NotPrivate, match=f"everybody on this computer can write to {link.parent}, and"):
        read_key_pair(link, never)


def test_somebody_elses_key_that_everybody_can_write_to(file: Callable[[bytes], Path]) -> None:
    """It says who is let in. A group may write to it: umask 002 makes it so."""
    path = file(PUBLIC)
    for mode in (0o644, 0o664):
        path.chmod(mode)
        assert read_public_key(path) == PAIR.public_key()
    for mode in (0o666, 0o602):
        path.chmod(mode)
        with pytest.raises(NotPrivate, match=f"^everybody on this computer can write to {path}, so") as caught:
            read_public_key(path)
        assert caught.value.advice.endswith(f"chmod o-w {path}")
        assert read_public_key(path, never) == PAIR.public_key()  # to look whose it is


# Writing a new pair.


def test_a_new_pair(tmp_path: Path) -> None:
    folder = tmp_path / "keys" / "mine"
    write_new_pair(folder, PAIR, None)
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert read_key_pair(folder / "key.pem", never).public_key() == PAIR.public_key()
    assert read_public_key(folder / "public.pem", never) == PAIR.public_key()


@pytest.mark.parametrize("umask", [0, 0o077])
def test_the_folders_above_are_ours_alone_whatever_the_umask_is(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write_new_pair(tmp_path / "keys" / "all" / "mine", PAIR, None)
    finally:
        os.umask(before)
    made = [tmp_path / "keys", tmp_path / "keys" / "all", tmp_path / "keys" / "all" / "mine"]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in made] == [0o700] * 3


def test_a_new_pair_under_a_passphrase(tmp_path: Path) -> None:
    write_new_pair(tmp_path, PAIR, b"secret")
    assert b"ENCRYPTED" in (tmp_path / "key.pem").read_bytes()
    read_key_pair(tmp_path / "key.pem", says(b"secret"))
    read_public_key(tmp_path / "public.pem", never)


def test_none_is_made_where_everybody_could_exchange_it(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    for into in (folder, folder / "mine"):
        with pytest.raises(NotPrivate, match=f"everybody on this computer can write to {folder}, and so put"):
            write_new_pair(into, PAIR, None)
        assert not (into / "key.pem").exists()


@pytest.mark.parametrize("taken", ["key.pem", "public.pem"])
def test_nothing_is_overwritten(tmp_path: Path, taken: str) -> None:
    (tmp_path / taken).write_text("mine")
    with pytest.raises(UsageError, match=f"{taken} exists already"):
        write_new_pair(tmp_path, PAIR, None)
    assert [path.name for path in tmp_path.iterdir()] == [taken]
    assert (tmp_path / taken).read_text() == "mine"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot be written to"):
        write_new_pair(tmp_path / "file" / "keys", PAIR, None)


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match=f"^{tmp_path}/file is not a folder$"):
        write_new_pair(tmp_path / "file", PAIR, None)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("number", [1, 2])
def test_a_full_disk_leaves_no_half_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real, opened = keyfiles.os.fdopen, []

    def fdopen(descriptor: int, mode: str) -> object:
        opened.append(descriptor)
        file = real(descriptor, mode)
        if len(opened) == number:
            file.close()
            raise OSError(28, "No space left on device")
        return file

    monkeypatch.setattr(keyfiles.os, "fdopen", fdopen)
    with pytest.raises(UsageError, match="No space left on device"):
        write_new_pair(tmp_path, PAIR, None)
    assert list(tmp_path.iterdir()) == []
