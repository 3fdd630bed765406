"""The key pair of a user who gives none: made at the first use, and kept in the state folder."""

import contextlib
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path

from p2p_core.errors import UsageError
from p2p_core.identity import RSAPrivateKey

from p2p_peer.keyfiles import Passphrase, read_key_pair, write_new_pair
from p2p_peer.private_file import check_our_folder, check_ours, make_folder
from p2p_peer.trust import default_state_dir

__all__ = ["default_key_path", "keep_key", "kept_key", "remove_left_behind"]

_FOLDER = "identity"
_NEW = f".{_FOLDER}-"  # a pair that has not got its name yet
_LEFT_BEHIND = 600.0  # s; a pair has its name, or is gone, after a moment


def default_key_path(state_dir: Path | None) -> Path:
    """Return where the key pair is, or will be. Raises `UsageError` for a user without a home folder."""
    return (state_dir or default_state_dir()) / _FOLDER / "key.pem"


def kept_key(path: Path, passphrase: Passphrase) -> RSAPrivateKey:
    """Return the key pair at `default_key_path`.

    Raises `UsageError` and below when it cannot be read, and when others may have written it, or put it there.
    """
    with contextlib.suppress(OSError):  # of which reading it will say more
        check_our_folder(path.parent.parent)
        check_ours(path.parent)
        check_ours(path)
    return read_key_pair(path, passphrase)


def keep_key(path: Path, key: RSAPrivateKey) -> bool:
    """Put a new pair at `default_key_path`, unless another process has put one there meanwhile: then return False.

    No signal may end the process within, or the private key stays where nobody looks for it. Raises `UsageError`.
    """
    folder = path.parent
    try:
        make_folder(folder.parent)
        check_our_folder(folder.parent)
        new = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_NEW))  # mkdtemp makes it 0700
        try:
            write_new_pair(new, key, None)
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


def remove_left_behind(path: Path) -> None:
    """Remove what a `keep_key` that was killed has left next to `default_key_path`, and none that is under way."""
    with contextlib.suppress(OSError):
        check_our_folder(path.parent.parent)
        for each in path.parent.parent.glob(f"{_NEW}*"):
            status = each.lstat()
            is_ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
            if is_ours and time.time() - status.st_mtime > _LEFT_BEHIND:
                shutil.rmtree(each, ignore_errors=True)
