"""What can be found out before anybody is met: keys that cannot be used, and what would fail later."""

import argparse
import os
import stat
import sys
from pathlib import Path

from p2p_core import limits
from p2p_core.errors import Malformed, UsageError
from p2p_core.identity import RSAPrivateKey, RSAPublicKey

from p2p_peer.cli.keys import ask_passphrase
from p2p_peer.cli.sentences import print_warning
from p2p_peer.keyfiles import is_open_to_others, read_key_pair, read_public_key
from p2p_peer.trust import MediatorId

__all__ = ["check", "mediator_id", "read_keys"]

_ANOTHER_FOLDER = "Give --receive a folder that you may write to."


def read_keys(options: argparse.Namespace) -> tuple[RSAPrivateKey, RSAPublicKey]:
    """Return our key pair and the other peer's public key; warn of a pair that others can read."""
    key = read_key_pair(options.keypair, ask_passphrase)
    if is_open_to_others(options.keypair):
        print_warning(
            f"other users of this computer may be able to read your key pair {options.keypair}",
            f"Keep it to yourself with: chmod 600 {options.keypair}",
        )
    return key, read_public_key(options.peerkey)


def check(options: argparse.Namespace) -> None:
    """Find out now what would otherwise fail once the other peer has been met."""
    if options.insecure and options.mediator_id is not None:
        raise UsageError(
            "without TLS the mediator shows no key, so --mediator-id cannot be checked",
            advice="Leave out --mediator-id or --insecure.",
        )
    for text in options.message:
        if len(text.encode("utf-8", "surrogateescape")) > limits.MAX_TEXT_BYTES:
            raise UsageError(
                f"a message has at most {limits.MAX_TEXT_BYTES} bytes",
                advice="Send a longer text as a file, with --send.",
            )
        if any("\ud800" <= character <= "\udfff" for character in text):  # how Python shows bytes that are no UTF-8
            raise UsageError(
                "a message is not valid UTF-8", advice="Send bytes that are no text as a file, with --send."
            )
    for path in options.send:
        if (why := _why_unreadable(path)) is not None:
            raise UsageError(
                f"{path} is not a file that can be read: {why}",
                advice="Give --send a regular file; a folder can be packed into one, with tar.",
            )
    folder = options.receive
    if folder is None:
        return
    if not options.yes and (options.json or not sys.stdin.isatty()):
        print_warning("nobody can be asked here, so every file will be refused", "Accept without asking with --yes.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} is not a folder that can be written to: {error.strerror}", advice=_ANOTHER_FOLDER
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} is not a folder that can be written to: Permission denied", advice=_ANOTHER_FOLDER)


def _why_unreadable(path: Path) -> str | None:
    """Say why a path is not a file that can be read; None if it is one."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        return error.strerror
    if stat.S_ISDIR(mode):
        return "it is a folder"
    if not stat.S_ISREG(mode):
        return "it is not a regular file"
    return None if os.access(path, os.R_OK) else "Permission denied"


def mediator_id(text: str | None) -> MediatorId | None:
    """Return the value of --mediator-id."""
    if text is None:
        return None
    try:
        return MediatorId.parse(text)
    except Malformed:
        raise UsageError(
            f"{text!r} is not a mediator id", advice="p2p-server prints its id when it starts: 52 letters and digits."
        ) from None
