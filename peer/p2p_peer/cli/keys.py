"""`p2p-peer keygen` and `p2p-peer fingerprint`, and how a passphrase is asked for."""

import argparse
import getpass
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from p2p_core.errors import Interrupted, UsageError
from p2p_core.identity import PeerId, RSAPrivateKey, generate_key
from p2p_core.limits import DEFAULT_KEY_BITS

from p2p_peer.cli.manual import PASSPHRASE_VARIABLE
from p2p_peer.cli.signals import held_back, interrupting
from p2p_peer.cli.words_text import labelled
from p2p_peer.keyfiles import read_public_key, write_new_pair

__all__ = ["ask_passphrase", "fingerprint", "keygen", "new_key"]


_SHORTEST_PASSPHRASE = 8  # characters, as NIST SP 800-63B §5.1.1.2 asks of what people choose


def keygen(options: argparse.Namespace) -> int:
    """Make a key pair and print whose it is."""
    passphrase = _new_passphrase() if options.passphrase else None
    key = new_key(options.bits)
    with held_back():
        write_new_pair(options.dir, key, passphrase)
    print(f"{options.dir / 'key.pem'}     your key pair: keep it to yourself")
    print(f"{options.dir / 'public.pem'}  your public key: give it to your peers, and to the mediator's owner")
    _print_identity(PeerId.of(key.public_key()))
    return 0


def new_key(bits: int = DEFAULT_KEY_BITS) -> RSAPrivateKey:
    """Make a key pair, which is not on the disk yet. A large one takes seconds: a signal is heard meanwhile."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(generate_key, bits).result()


def fingerprint(options: argparse.Namespace) -> int:
    """Print whose key it is."""
    _print_identity(PeerId.of(read_public_key(options.key, ask_passphrase)))
    return 0


def ask_passphrase(path: Path) -> bytes | None:
    """Return the passphrase for a locked key pair: from the environment, or asked at the terminal; None if neither."""
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if given:  # nothing is locked with an empty one
        return os.fsencode(given)
    if not sys.stdin.isatty():
        return None
    return os.fsencode(_typed(f"passphrase of {path}: "))


def _new_passphrase() -> bytes:
    given = os.environ.get(PASSPHRASE_VARIABLE)
    if not given:
        if not sys.stdin.isatty():
            raise UsageError(
                "there is no terminal to ask for a passphrase at",
                advice=f"Put it into the environment variable {PASSPHRASE_VARIABLE}.",
            )
        given = _typed("new passphrase: ")
        if _typed("once more: ") != given:
            raise UsageError("the two passphrases differ, so no key was made", advice="Start again.")
    if not given:
        raise UsageError("the passphrase is empty, so no key was made", advice="Leave out --passphrase for none.")
    if len(given) < _SHORTEST_PASSPHRASE:
        raise UsageError(
            f"the passphrase has fewer than {_SHORTEST_PASSPHRASE} characters, so no key was made",
            advice="Choose a longer one: several words are as good as signs, and easier to type.",
        )
    return os.fsencode(given)


def _typed(prompt: str) -> str:
    """Ask at the terminal, unseen. A signal ends it so that the terminal shows again what is typed."""
    try:
        with interrupting():
            return getpass.getpass(prompt)
    except EOFError:
        raise Interrupted("no passphrase was typed") from None


def _print_identity(peer: PeerId) -> None:
    print(f"peer id  {peer}")
    for label, row in labelled("words", peer):
        print(f"{label:<9}{row}")
