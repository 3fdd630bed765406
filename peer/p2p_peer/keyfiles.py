"""Key files: reading a key pair or the other side's public key, and making a new pair."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from p2p_core.errors import KeyLocked, KeyUnreadable, UsageError
from p2p_core.identity import (
    RSAPrivateKey,
    RSAPublicKey,
    generate_key,
    load_key_pair,
    load_public_key,
    private_pem,
    public_pem,
)

__all__ = ["read_key_pair", "read_public_key", "write_new_pair"]

_Key = TypeVar("_Key", RSAPrivateKey, RSAPublicKey)
Passphrase = Callable[[Path], bytes | None]  # asked only when a file turns out to be locked


def read_key_pair(path: Path, passphrase: Passphrase) -> RSAPrivateKey:
    """Read the key pair in `path`. Raises `KeyUnreadable`, `KeyLocked` or `KeyUnfit`, with the path in the sentence."""
    return _load(path, load_key_pair, passphrase)


def read_public_key(path: Path, passphrase: Passphrase) -> RSAPublicKey:
    """Read the public key in `path`, also from a certificate or a key pair. Raises as `read_key_pair` does."""
    return _load(path, load_public_key, passphrase)


def write_new_pair(folder: Path, bits: int, passphrase: bytes | None) -> RSAPrivateKey:
    """Make a key pair and write `key.pem` (0600) and `public.pem` to `folder`. Raises `UsageError`.

    Nothing is ever overwritten: a lost key pair cannot be had again.
    """
    key = generate_key(bits)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_new(folder / "key.pem", private_pem(key, passphrase), 0o600)
        try:
            _write_new(folder / "public.pem", public_pem(key.public_key()), 0o644)
        except OSError:
            (folder / "key.pem").unlink()
            raise
    except FileExistsError as error:
        raise UsageError(f"{error.filename} exists already; it is not overwritten") from error
    except OSError as error:
        raise UsageError(f"{folder} cannot be written to: {error.strerror}") from error
    return key


def _load(path: Path, load: Callable[[bytes, bytes | None], _Key], passphrase: Passphrase) -> _Key:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise KeyUnreadable(f"{path} cannot be read: {error.strerror}") from error
    try:
        try:
            return load(data, None)
        except KeyLocked:
            secret = passphrase(path)
            if secret is None:
                raise
            return load(data, secret)
    except UsageError as error:
        raise type(error)(f"{path}: {error}") from error


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
    except OSError:  # half a key is worse than none
        path.unlink()
        raise
