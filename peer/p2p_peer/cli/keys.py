"""`p2p-peer keygen` and `p2p-peer fingerprint`, and how a passphrase is asked for."""

import argparse
import getpass
import os
import sys
from pathlib import Path

from p2p_core.errors import UsageError
from p2p_core.identity import PeerId

from p2p_peer.cli.parser import PASSPHRASE_VARIABLE
from p2p_peer.keyfiles import read_public_key, write_new_pair

__all__ = ["ask_passphrase", "fingerprint", "keygen"]


def keygen(options: argparse.Namespace) -> int:
    """Make a key pair and print whose it is."""
    passphrase = _new_passphrase() if options.passphrase else None
    key = write_new_pair(options.dir, options.bits, passphrase)
    print(f"{options.dir / 'key.pem'}     your key pair: keep it to yourself")
    print(f"{options.dir / 'public.pem'}  your public key: give it to your peers, and to the mediator's owner")
    _print_identity(PeerId.of(key.public_key()))
    return 0


def fingerprint(options: argparse.Namespace) -> int:
    """Print whose key it is."""
    _print_identity(PeerId.of(read_public_key(options.key, ask_passphrase)))
    return 0


def ask_passphrase(path: Path) -> bytes | None:
    """Return the passphrase for a locked key pair: from the environment, or asked at the terminal; None if neither."""
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given is not None:
        return given.encode()
    if not sys.stdin.isatty():
        return None
    return getpass.getpass(f"passphrase of {path}: ").encode()


def _new_passphrase() -> bytes:
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given is None:
        if not sys.stdin.isatty():
            raise UsageError(f"no terminal to ask for a passphrase at; set {PASSPHRASE_VARIABLE}")
        given = getpass.getpass("new passphrase: ")
        if getpass.getpass("once more: ") != given:
            raise UsageError("the two passphrases differ")
    if not given:
        raise UsageError("the passphrase is empty")
    return given.encode()


def _print_identity(peer: PeerId) -> None:
    words = peer.words
    print(f"peer id  {peer}")
    for row in range(0, len(words), 4):
        print(f"{'words' if row == 0 else '':<9}{' '.join(words[row : row + 4])}")
