"""Key files: reading a key pair or the other side's public key, and making a new pair."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from p2p_core import private_files
from p2p_core.errors import KeyLocked, KeyUnreadable, UsageError
from p2p_core.identity import (
    RSAPrivateKey,
    RSAPublicKey,
    load_key_pair,
    load_public_key,
    private_pem,
    public_pem,
)

from p2p_peer.private_file import check_way, make_folder
from p2p_peer.regular_files import open_regular

__all__ = ["Passphrase", "holds_key_pair", "read_key_pair", "read_public_key", "write_new_pair"]

_Key = TypeVar("_Key", RSAPrivateKey, RSAPublicKey)
_ANOTHER_FOLDER = "Name a folder that you may write to."
_PUBLIC_HALF = "Ask the other side for its public key: the public.pem that was made with it."
_MAX_FILE_BYTES = 64 * 1024  # a key pair of 8192 bits has 6.5 KiB; more is no key
_PRIVATE = b"PRIVATE KEY-----"
_PAIR = "key.pem"
Passphrase = Callable[[Path], bytes | None]  # asked only when a file turns out to be locked


def read_key_pair(path: Path, passphrase: Passphrase) -> RSAPrivateKey:
    """Read the key pair in `path`. Raises `KeyUnreadable`, `KeyLocked` or `KeyUnfit`, with the path in the sentence.

    Also `NotPrivate`, when others may read or have written it, or put another in its place.
    """
    return _load(path, load_key_pair, passphrase)


def read_public_key(path: Path, passphrase: Passphrase | None = None) -> RSAPublicKey:
    """Read the public key in `path`, also from a certificate or a key pair. Raises as `read_key_pair` does.

    A file from somebody else is read without `passphrase`: ours is not for it, and it may name a key derivation that
    takes hours. A locked key pair is `KeyLocked` then; and as somebody is to be known by it, it is `NotPrivate` when
    everybody may write to it.
    """
    return _load(path, load_public_key, passphrase)


def holds_key_pair(path: Path) -> bool:
    """Whether there is a private key in the file. Raises `KeyUnreadable`."""
    return _PRIVATE in _read(path)


def write_new_pair(folder: Path, key: RSAPrivateKey, passphrase: bytes | None) -> None:
    """Write a new key pair to `folder`: `key.pem` (0600) and `public.pem`. Raises `UsageError`.

    Nothing is ever overwritten: a lost key pair cannot be had again. `NotPrivate`: it could not be used there, as
    everybody might put another in its place.
    """
    try:
        make_folder(folder)
        check_way(folder / _PAIR)
    except FileExistsError as error:
        raise UsageError(f"{folder} is not a folder", advice=_ANOTHER_FOLDER) from error
    except OSError as error:
        raise _not_writable(folder, error) from error
    try:
        _write_new(folder / _PAIR, private_pem(key, passphrase), 0o600)
        try:
            _write_new(folder / "public.pem", public_pem(key.public_key()), 0o644)
        except OSError:
            (folder / _PAIR).unlink()
            raise
    except FileExistsError as error:
        raise UsageError(
            f"{error.filename} exists already, and a key is never overwritten",
            advice="Name another folder, or move the old key away.",
        ) from error
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(folder: Path, error: OSError) -> UsageError:
    return UsageError(f"{folder} cannot be written to: {error.strerror}", advice=_ANOTHER_FOLDER)


def _load(path: Path, load: Callable[[bytes, bytes | None], _Key], passphrase: Passphrase | None) -> _Key:
    data = _read(path, _check_theirs if passphrase is None else _check_own)
    try:
        try:
            return load(data, None)
        except KeyLocked as error:
            if passphrase is None:
                raise KeyLocked(str(error), advice=_PUBLIC_HALF) from error
            secret = passphrase(path)
            if secret is None:
                raise
            return load(data, secret)
    except UsageError as error:
        raise type(error)(f"{path}: {error}", advice=error.advice) from error


def _check_own(path: Path, status: os.stat_result, data: bytes) -> None:
    if _PRIVATE in data:  # another file is a mistake, which is for others to say; or asked about, whatever it is
        private_files.check_secret(path, status, os.geteuid())
        check_way(path)


def _check_theirs(path: Path, status: os.stat_result, data: bytes) -> None:
    private_files.check_not_for_all(path, status)
    check_way(path)


def _read(path: Path, check: Callable[[Path, os.stat_result, bytes], None] | None = None) -> bytes:
    try:
        with open_regular(path) as file:
            data = file.read(_MAX_FILE_BYTES + 1)
            if check is not None:
                check(path, os.fstat(file.fileno()), data)
    except OSError as error:
        raise KeyUnreadable(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_FILE_BYTES:
        raise KeyUnreadable(f"{path} is too large for a key")
    return data


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)  # a power cut must not leave a name with nothing in it
    except OSError:  # half a key is worse than none
        path.unlink()
        raise
