"""What can be found out before anybody is met: keys that cannot be used, and what would fail later."""

import argparse
import os
import stat
import sys
from pathlib import Path

from p2p_core import limits
from p2p_core.errors import UsageError
from p2p_core.identity import RSAPrivateKey, RSAPublicKey

from p2p_peer.cli.flags import STANDARD_OUTPUT
from p2p_peer.cli.keys import ask_passphrase, new_key
from p2p_peer.cli.sentences import print_warning
from p2p_peer.cli.signals import held_back
from p2p_peer.keyfiles import holds_key_pair, read_key_pair, read_public_key
from p2p_peer.own_identity import default_key_path, keep_key, kept_key, remove_left_behind
from p2p_peer.transfer.tree import STANDARD_INPUT, argument_names

__all__ = ["check", "default_key", "own_key", "peer_key"]

_ANOTHER_FOLDER = "Give --receive a folder that you may write to."


def own_key(path: Path) -> RSAPrivateKey:
    """Return our key pair. Raises `UsageError` and below."""
    return read_key_pair(path, ask_passphrase)


def default_key(state_dir: Path | None) -> tuple[RSAPrivateKey, Path | None]:
    """Return the key pair that is kept for this user, and where that is if it was made just now.

    Two processes that make one in the same moment end with the same. Raises `UsageError` and below.
    """
    path, made = default_key_path(state_dir), False
    remove_left_behind(path)
    if not os.path.lexists(path):
        key = new_key()
        with held_back():
            made = keep_key(path, key)
    return kept_key(path, ask_passphrase), path if made else None


def peer_key(path: Path) -> RSAPublicKey:
    """Return the other side's public key; warn of a file that has its secret, too. Raises `UsageError` and below."""
    key = read_public_key(path)
    if holds_key_pair(path):
        print_warning(
            f"{path} is a key pair: whoever gave it to you gave its secret away",
            "Ask the other side for its public.pem instead, and for a new key pair: this one is no secret any more.",
        )
    return key


def check(options: argparse.Namespace) -> None:
    """Find out now what would otherwise fail once the other peer has been met."""
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
    if options.send:
        _check_sending(options)
    _check_receiving(options)


def _check_sending(options: argparse.Namespace) -> None:
    for path in argument_names(options.send).values():
        if path == STANDARD_INPUT:
            if sys.stdin.isatty():
                raise UsageError("standard input is a terminal", advice="Lead a file or a pipe into it, to send that.")
        elif (why := _why_unreadable(path)) is not None:
            raise UsageError(
                f"{path} cannot be read: {why}",
                advice="Give --send files and folders that you may read, or - for standard input.",
            )


def _check_receiving(options: argparse.Namespace) -> None:
    somebody = sys.stdin.isatty() and not options.json
    if options.overwrite == "ask" and not somebody:
        raise UsageError("nobody can be asked here", advice="Say what to do with --overwrite never, always or rename.")
    if options.in_place and options.overwrite != "always":
        raise UsageError("--in-place is a way to overwrite", advice="Give --overwrite always as well.")
    if options.max_size is not None and not options.yes:
        raise UsageError("--max-size is for what nobody is asked about", advice="Give --yes as well.")
    folder = options.receive
    if folder is None:
        return
    if not options.yes and not somebody:
        print_warning("nobody can be asked here, so every file will be refused", "Accept without asking with --yes.")
    if folder == STANDARD_OUTPUT:
        if options.json:
            raise UsageError("standard output is for the file, or for events", advice="Leave out --json.")
        if sys.stdout.isatty():
            raise UsageError("standard output is a terminal", advice="Lead it into a file or a pipe, or give a folder.")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder} is not a folder that can be written to: {error.strerror}", advice=_ANOTHER_FOLDER
        ) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} is not a folder that can be written to: Permission denied", advice=_ANOTHER_FOLDER)


def _why_unreadable(path: str) -> str | None:
    """Say why a path is no file or folder that can be read; None if it is one."""
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.strerror
    if stat.S_ISDIR(mode):
        return None if os.access(path, os.R_OK | os.X_OK) else "Permission denied"
    if not stat.S_ISREG(mode):
        return "it is neither a file nor a folder"
    return None if os.access(path, os.R_OK) else "Permission denied"
