"""The key pair of a user who gives none: made at the first use, and kept in the state folder."""

import os
import shutil
import tempfile
from pathlib import Path

from p2p_core.errors import UsageError
from p2p_core.identity import RSAPrivateKey, generate_key

from p2p_peer.keyfiles import Passphrase, read_key_pair, write_new_pair
from p2p_peer.trust import default_state_dir

__all__ = ["default_key", "default_key_path"]

_FOLDER = "identity"


def default_key_path(state_dir: Path | None) -> Path:
    """Return where the key pair is, or will be. Raises `UsageError` for a user without a home folder."""
    return (state_dir or default_state_dir()) / _FOLDER / "key.pem"


def default_key(state_dir: Path | None, passphrase: Passphrase) -> tuple[RSAPrivateKey, bool, Path]:
    """Return the key pair, whether it was made just now, which takes about a second, and where it is.

    Two processes that make one in the same moment end with the same. Raises `UsageError`.
    """
    path = default_key_path(state_dir)
    made = not os.path.lexists(path) and _make(path.parent)
    return read_key_pair(path, passphrase), made, path


def _make(folder: Path) -> bool:
    """Make a pair next to `folder` and put it there, unless somebody else has put one there meanwhile."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))  # mkdtemp makes it 0700
        try:
            write_new_pair(new, generate_key(), None)
            try:
                new.rename(folder)  # replaces no folder that has anything in it
            except OSError:
                if not folder.is_dir():
                    raise
                return False
            return True
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise UsageError(
            f"no key pair can be made in {folder}: {error.strerror}",
            advice="Give --state-dir a folder that you may write to, or a key pair of your own with -k.",
        ) from error
