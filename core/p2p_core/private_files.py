"""Whether a file or folder is to be believed, by what `os.stat` says of it: nobody else may have written it.

And which folders lead to it: who may write there can put something else in its place.

The rules are those of OpenSSH for private keys (`sshkey_perm_ok`) and for what is below a home folder (`safe_path`),
and PostgreSQL's for keys that root hands to a service. docs/decisions/private-files.md has them, and what they leave
out.
"""

import stat
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING

from p2p_core.errors import NotPrivate

if TYPE_CHECKING:
    import os

__all__ = [
    "check_above",
    "check_not_for_all",
    "check_only_owner_writes",
    "check_ours",
    "check_owner",
    "check_secret",
    "folders_on_the_way",
]

_ROOT = 0  # user id
_OTHERS_WRITE = 0o022  # permission bits
_OTHERS = 0o077
_BEYOND_READING_BY_A_GROUP = 0o037
_MOST_LINKS = 40  # Linux follows no more on one way (path_resolution(7)), and others fewer


def check_only_owner_writes(path: object, status: "os.stat_result") -> None:
    """Raise `NotPrivate` when anybody but the owner may write to it, whoever that is."""
    if status.st_mode & _OTHERS_WRITE:
        mode = "go-w" if stat.S_ISDIR(status.st_mode) else "600"
        raise NotPrivate(
            f"other users of this computer can write to {path}, so nothing in it is believed",
            advice=f"Look whether it has what you know it to have; if so: chmod {mode} {path}",
        )


def check_not_for_all(path: object, status: "os.stat_result") -> None:
    """Raise `NotPrivate` when everybody may write to it. A group may: umask 002 lets it, where each user is a group."""
    if status.st_mode & stat.S_IWOTH:
        raise NotPrivate(
            f"everybody on this computer can write to {path}, so nothing in it is believed",
            advice=f"Look whether it has what you know it to have; if so: chmod o-w {path}",
        )


def check_owner(path: object, status: "os.stat_result", us: int) -> None:
    """Raise `NotPrivate` when it is neither of the user with id `us` nor of root."""
    if status.st_uid not in (us, _ROOT):
        raise NotPrivate(
            f"{path} belongs to another user of this computer, so nothing in it is believed",
            advice=f"Start this as that user, or name one of your own; if it is yours by right: chown {us} {path}",
        )


def check_ours(path: object, status: "os.stat_result", us: int) -> None:
    """Raise `NotPrivate` when anybody but the user with id `us`, or root, may have written it."""
    check_owner(path, status, us)
    check_only_owner_writes(path, status)


def check_secret(path: object, status: "os.stat_result", us: int) -> None:
    """Raise `NotPrivate` when anybody but the user with id `us`, or root, may read or have written a file.

    One of root's may be for a group to read, too: so a service is given a key that it may not alter.
    """
    check_ours(path, status, us)
    if status.st_mode & (_OTHERS if status.st_uid == us else _BEYOND_READING_BY_A_GROUP):
        raise NotPrivate(
            f"other users of this computer may be able to read {path}, which has a private key",
            advice=f"If none of them has: chmod {600 if status.st_uid == us else 640} {path}. Else make a new one.",
        )


def check_above(path: object, folder: object, status: "os.stat_result") -> None:
    """Raise `NotPrivate` when everybody may write to `folder`, which is above `path`, and so replace what is between.

    In one with the sticky bit, as /tmp, each may only do so with their own.
    """
    if status.st_mode & stat.S_IWOTH and not status.st_mode & stat.S_ISVTX:
        raise NotPrivate(
            f"everybody on this computer can write to {folder}, and so put something else in the place of {path}",
            advice=f"Look whether it has what you know it to have; if so: chmod o-w {folder}",
        )


def folders_on_the_way(path: PurePath, link: Callable[[PurePath], str | None]) -> Iterator[PurePath]:
    """Yield the folders in which names are looked up on the way to `path`, which is absolute, and on that of its links.

    As a system does it (path_resolution(7)), some more than once. `link` returns where a link leads; None for what is
    no link, or not there.
    """
    folder, names = path / "/", list(reversed(path.parts[1:]))
    links = 0
    while names:
        yield folder
        name = names.pop()
        if name == "..":
            folder = folder.parent
        elif (target := link(folder / name)) is None:
            folder /= name
        elif (links := links + 1) > _MOST_LINKS:
            return  # nobody gets there
        else:
            way = PurePath(target)
            folder /= way.anchor
            names += reversed(way.relative_to(way.anchor).parts)
