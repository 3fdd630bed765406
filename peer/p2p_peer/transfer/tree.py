"""What a user wants sent, as a manifest: files and folders as they are on the disk, and standard input.

What is no file or folder is left out, and so are hidden files, unless they are wanted, and links that lead out of what
is sent, or nowhere; whoever scans can say so. An argument itself is always sent, and followed if it is a link.
"""

import fnmatch
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from p2p_core import limits
from p2p_core.errors import Malformed, TransferFailed, UsageError
from p2p_core.link_targets import link_stays_inside
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_core.safe_names import with_number

__all__ = [
    "STANDARD_INPUT",
    "LeftOut",
    "OpenFolders",
    "SendOptions",
    "SourceTree",
    "Why",
    "argument_names",
    "scan",
    "unreadable",
]

STANDARD_INPUT = "-"  # the argument that stands for it; a file of that name is ./-
_STREAM_NAME = "stdin"  # what it is called at the other side
_OPEN = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not block us
_OPEN_FOLDER = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_FOLDERS_OPEN = 32  # at once; trees may be deeper than a process may have descriptors
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class SendOptions:
    """What of the folders is sent.

    A pattern of `exclude` is one of the shell's (`*`, `?`, `[a-z]`), compared with each name below the arguments, or if
    there is a slash in it, with the path from the argument's name on; a slash at its end means folders only.
    """

    exclude: tuple[str, ...] = ()
    include_hidden: bool = False


class Why(StrEnum):
    """Why something in a folder is not sent."""

    HIDDEN = "hidden"
    EXCLUDED = "excluded"
    SPECIAL = "neither file nor folder"
    LINK = "links that lead out of what is sent"
    NOWHERE = "links that lead nowhere"


@dataclass(slots=True)
class LeftOut:
    """What was left out for one reason: a folder counts as one."""

    count: int = 0
    examples: tuple[str, ...] = ()  # paths of the first


class SourceTree:
    """A manifest, and where its files are on this computer."""

    def __init__(self) -> None:
        self.manifest = Manifest()
        self.left_out: dict[Why, LeftOut] = {}
        self.unreadable: list[tuple[int, TransferFailed]] = []  # folders: what is in them is not in the manifest
        self._arguments: dict[int, str] = {}  # paths, by entry at the top level
        self._real_names: dict[int, str] = {}  # of entries whose names are no text

    @property
    def arguments(self) -> tuple[str, ...]:
        """The paths that were named, in the order of their entries."""
        return tuple(self._arguments.values())

    def local_path(self, entry: int) -> str:
        """Return the path of an entry, as the user would write it."""
        names: list[str] = []
        while entry not in self._arguments:
            names.append(self.real_name(entry))
            entry = self.manifest.parent(entry)
        return os.path.join(self._arguments[entry], *reversed(names))

    def real_name(self, entry: int) -> str:
        """Return the name of an entry in its folder on the disk."""
        return self._real_names.get(entry) or self.manifest.name(entry)

    def add_argument(self, path: str, entry: Entry) -> int:
        """Append an entry of the top level. Raises `TransferFailed`."""
        index = self._add(path, entry)
        self._arguments[index] = path
        return index

    def add_inside(self, real_name: str, entry: Entry) -> int:
        """Append an entry that is in a folder. Raises `TransferFailed`."""
        index = self._add(real_name, entry)
        if real_name != entry.name:
            self._real_names[index] = real_name
        return index

    def _add(self, name: str, entry: Entry) -> int:
        try:
            return self.manifest.add(entry)
        except Malformed as error:
            raise TransferFailed(
                f"{name} is too much for one transfer: {error}", advice="Send less at once, or pack it with tar."
            ) from error

    def leave_out(self, why: Why, folder: int, name: str) -> None:
        """Note that `name` in `folder` is not sent."""
        left_out = self.left_out.setdefault(why, LeftOut())
        left_out.count += 1
        if len(left_out.examples) < _EXAMPLES:
            left_out.examples += (os.path.join(self.local_path(folder), name),)


class OpenFolders:
    """Opens what is in a tree, by way of its folders, without following a link below the arguments. For one thread."""

    def __init__(self, tree: SourceTree) -> None:
        self._tree = tree
        self._open: dict[int, int] = {}  # descriptors by entry, the oldest first

    def open_file(self, entry: int) -> int:
        """Return a new descriptor of a file, which is the caller's to close. Raises `OSError`."""
        return self._open_entry(entry, _OPEN)

    def folder(self, entry: int) -> int:
        """Return a descriptor of a folder, good until the next call. Raises `OSError`."""
        missing = []
        while entry != TOP and entry not in self._open:
            missing.append(entry)
            entry = self._tree.manifest.parent(entry)
        for each in reversed(missing):
            self._open[each] = self._open_entry(each, _OPEN_FOLDER)
            entry = each
            if len(self._open) > _FOLDERS_OPEN:
                os.close(self._open.pop(next(iter(self._open))))
        return self._open[entry]

    def close(self) -> None:
        """Close every folder."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _open_entry(self, entry: int, flags: int) -> int:
        parent = self._tree.manifest.parent(entry)
        if parent == TOP:
            return os.open(self._tree.local_path(entry), flags)
        return os.open(self._tree.real_name(entry), flags | os.O_NOFOLLOW, dir_fd=self.folder(parent))


def scan(paths: Iterable[str | os.PathLike[str]], options: SendOptions | None = None) -> SourceTree:
    """Return what is to be sent when the user names `paths`. Standard input comes last, wherever it was named.

    May take long: not for an event loop. Raises `TransferFailed` for a path that cannot be sent, and `UsageError` for
    two that would have the same name at the other side.
    """
    tree, options = SourceTree(), options or SendOptions()
    folders = OpenFolders(tree)
    try:
        for name, path in argument_names(paths).items():
            if path == STANDARD_INPUT:
                tree.add_argument(path, Entry(EntryKind.STREAM, TOP, name, mode=0o644))
            else:
                _Scan(tree, folders, options).argument(path, name)
    finally:
        folders.close()
    return tree


def argument_names(paths: Iterable[str | os.PathLike[str]]) -> dict[str, str]:
    """Return what the user names, by the names for the other side, standard input last. Raises `UsageError`."""
    arguments = [os.fspath(path) for path in paths]
    files = [path for path in arguments if path != STANDARD_INPUT]
    if not arguments or len(arguments) - len(files) > 1:
        raise UsageError("standard input can be sent once only" if arguments else "there is nothing to send")
    names: dict[str, str] = {}
    for path in files:
        name = _argument_name(path)
        if name in names:
            raise UsageError(
                f"{names[name]} and {path} would both arrive as {name}",
                advice="Send one after the other, or rename one of them.",
            )
        names[name] = path
    if len(arguments) > len(files):
        names[_unused(_STREAM_NAME, names)] = STANDARD_INPUT
    return names


class _Scan:
    """Adds one argument, and what is below it, to a tree: all that is in a folder first, then its folders in turn."""

    def __init__(self, tree: SourceTree, folders: OpenFolders, options: SendOptions) -> None:
        self._tree, self._folders, self._options = tree, folders, options
        self._is_excluded = _exclusion(options.exclude)

    def argument(self, path: str, name: str) -> None:
        """Add what `path` names. Raises `TransferFailed`."""
        status = _status(path)
        if stat.S_ISREG(status.st_mode):
            self._tree.add_argument(path, _entry(EntryKind.FILE, TOP, name, status))
            return
        waiting = [self._tree.add_argument(path, _entry(EntryKind.FOLDER, TOP, name, status))]
        while waiting:
            folder = waiting.pop()
            try:
                waiting += reversed(self._inside(folder))
            except OSError as error:
                failed = unreadable(self._tree.local_path(folder), error)
                self._tree.unreadable.append((folder, failed))

    def _inside(self, folder: int) -> list[int]:
        """Add what is in `folder`; return the folders among it. Raises `OSError`, `TransferFailed`."""
        tree, descriptor = self._tree, self._folders.folder(folder)
        above = tree.manifest.path(folder)
        names = sorted(os.listdir(descriptor))
        taken: set[str] | None = None  # made when it is needed
        folders: list[int] = []
        for real_name in names:
            if real_name.startswith(".") and not self._options.include_hidden:
                tree.leave_out(Why.HIDDEN, folder, real_name)
                continue
            try:
                status = os.stat(real_name, dir_fd=descriptor, follow_symlinks=False)
                target = os.readlink(real_name, dir_fd=descriptor) if stat.S_ISLNK(status.st_mode) else ""
            except FileNotFoundError:  # it is gone since
                continue
            name = _as_text(real_name)
            kind = _kind(status.st_mode)
            if self._options.exclude and self._is_excluded((*above, name), kind is EntryKind.FOLDER):
                tree.leave_out(Why.EXCLUDED, folder, real_name)
                continue
            if kind is None:
                tree.leave_out(Why.SPECIAL, folder, real_name)
                continue
            target = _as_text(target)
            if target and not _is_sendable(target, len(above)):
                tree.leave_out(Why.LINK, folder, real_name)
                continue
            if target and not _leads_somewhere(real_name, descriptor):
                tree.leave_out(Why.NOWHERE, folder, real_name)
                continue
            if name != real_name:  # then others may come to have the same
                taken = set(names) if taken is None else taken
                name = _unused(name, taken)
                taken.add(name)
            index = tree.add_inside(real_name, _entry(kind, folder, name, status, target))
            if kind is EntryKind.FOLDER:
                folders.append(index)
        return folders


def _argument_name(path: str) -> str:
    """Return what the thing at `path` is called. Raises `UsageError` if it has no name."""
    name = os.path.basename(path.rstrip("/"))
    if name in ("", ".", ".."):
        name = os.path.basename(os.path.realpath(path))
    if not name:
        raise UsageError(
            f"{path or 'an empty path'} has no name under which it could arrive", advice="Name what is in it."
        )
    return _as_text(name)


def _status(path: str) -> os.stat_result:
    """Return the status of a file or folder that can be read. Raises `TransferFailed`."""
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            os.close(os.open(path, _OPEN))
            return status
    except OSError as error:
        raise unreadable(path, error) from error
    except ValueError:  # a NUL in it
        raise TransferFailed(f"{path!r} cannot be the path of a file") from None
    raise TransferFailed(
        f"{path} is neither a file nor a folder", advice="Send files, folders, or - for standard input."
    )


def _entry(kind: EntryKind, parent: int, name: str, status: os.stat_result, target: str = "") -> Entry:
    size = status.st_size if kind is EntryKind.FILE else 0
    return Entry(kind, parent, name, size, status.st_mode & 0o777, max(status.st_mtime_ns, 0), target)


def _kind(mode: int) -> EntryKind | None:
    if stat.S_ISREG(mode):
        return EntryKind.FILE
    if stat.S_ISDIR(mode):
        return EntryKind.FOLDER
    return EntryKind.LINK if stat.S_ISLNK(mode) else None


def _is_sendable(target: str, depth: int) -> bool:
    return link_stays_inside(depth, target) and len(target.encode()) <= limits.MAX_TARGET_BYTES


def _leads_somewhere(link: str, folder: int) -> bool:
    try:
        os.stat(link, dir_fd=folder)
    except OSError:
        return False
    return True


def _as_text(name: str) -> str:
    """Return a name as valid text; bytes that are no UTF-8 become U+FFFD."""
    return name if name.isascii() else os.fsencode(name).decode("utf-8", "replace")


def _unused(name: str, taken: Iterable[str]) -> str:
    """Return `name`, with a number if it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = with_number(name, number)
    return free


def _exclusion(patterns: Iterable[str]) -> Callable[[tuple[str, ...], bool], bool]:
    """Return a function of a path and whether it is a folder's, which says whether a pattern is for it."""
    tests = [
        (re.compile(fnmatch.translate(pattern.rstrip("/"))).match, "/" in pattern.rstrip("/"), pattern.endswith("/"))
        for pattern in patterns
    ]

    def is_excluded(path: tuple[str, ...], is_folder: bool) -> bool:
        return any(
            (is_folder or not folders_only) and matches("/".join(path) if whole else path[-1])
            for matches, whole, folders_only in tests
        )

    return is_excluded


def unreadable(path: str, error: OSError) -> TransferFailed:
    """Return the error for what cannot be read."""
    return TransferFailed(
        f"{path} cannot be read: {error.strerror}", advice="See that it is there and that you may read it."
    )
