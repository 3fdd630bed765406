"""Where received files may be written: the one owner of that question.

Names and paths are somebody else's suggestions. What holds whatever they are, and whoever swaps what is in the target
folder meanwhile:

- every path is walked from the target folder, which is held open, one folder at a time by `safe_name`s; links are
  never gone through, so nothing is made, changed or removed outside
- what was there before is left alone, unless `Overwrite.ALWAYS` says that a file or link may be replaced; and what
  this transfer itself has put there is never replaced, even where file systems take two names for one

Links are made last, and lead only to what the transfer itself has brought.
"""

import contextlib
import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Collection, Iterator
from enum import Enum
from pathlib import Path

from p2p_core.errors import TransferFailed
from p2p_core.manifest import TOP, EntryKind, Manifest
from p2p_core.printable import printable
from p2p_core.safe_names import safe_name, with_number

from p2p_peer.transfer.block_writer import unwritable
from p2p_peer.transfer.received_journal import ReceivedJournal
from p2p_peer.transfer.staging import MAX_NAMES, OPEN_FOLDER, StagedFile, Staging, Unplaced, final_mode, set_time

__all__ = ["Overwrite", "Target", "conflicts", "free_space"]

_MAX_OPEN = 16  # folders kept open; files mostly come folder by folder
_LOOKED_UP = 16  # names tried before it is remembered how many are taken
# What is wrong with the disk or this process, and not with one file.
_FATAL = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)


class Overwrite(Enum):
    """What becomes of what is there already under a name that a received file is to have."""

    NEVER = "never"  # it is kept, and the received one is not wanted; folders are merged
    ALWAYS = "always"  # it is replaced, at once and whole; folders are merged
    RENAME = "rename"  # it is kept, and what is received gets a number


class _Folder:
    """What is known of a FOLDER entry. Numbers, as there may be a million."""

    UNKNOWN, OURS, MERGED, FAILED = range(4)


class Walk:
    """Opens the folders of a transfer inside the target folder, as far as they are there."""

    def __init__(self, folder: Path, manifest: Manifest, *, merges: bool) -> None:
        """Raises `TransferFailed` when `folder` cannot be opened."""
        self.manifest = manifest
        self._merges = merges
        try:
            self.root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # the user's choice: may be a link
        except OSError as error:
            raise unwritable(f"{folder} cannot be written to", error) from error
        self._states = bytearray(len(manifest))
        self._names: dict[int, str] = {}  # that are not those suggested
        self._ours: set[int] = set()  # inodes of what this transfer has put where other things are
        self._open: OrderedDict[int, int] = OrderedDict()  # folders by entry, the one used last at the end

    def close(self) -> None:
        """Close everything."""
        for descriptor in (*self._open.values(), self.root):
            os.close(descriptor)
        self._open.clear()

    def name(self, entry: int) -> str:
        """The name an entry has here. Raises `UnsafeName`."""
        return self._names.get(entry) or self._suggested(entry)

    def existing(self, entry: int) -> int | None:
        """Return the open folder that an entry is; None if it is not there."""
        return self._walk(entry, make=False)

    def look(self, entry: int) -> os.stat_result | None:
        """Return the status of what has the name of an entry; None if nothing has."""
        folder = self.existing(self.manifest.parent(entry))
        if folder is None:
            return None
        try:
            return os.stat(self.name(entry), dir_fd=folder, follow_symlinks=False)
        except (OSError, TransferFailed):
            return None

    def _suggested(self, entry: int) -> str:
        return safe_name(self.manifest.name(entry), inside=self.manifest.parent(entry) != TOP)

    def _walk(self, entry: int, *, make: bool) -> int | None:
        if entry == TOP:
            return self.root
        descriptor = self._open.get(entry)
        if descriptor is not None:
            self._open.move_to_end(entry)
            return descriptor
        way = [entry]
        while (parent := self.manifest.parent(way[-1])) != TOP and parent not in self._open:
            way.append(parent)
        descriptor = self.root if parent == TOP else self._open[parent]
        for folder in reversed(way):
            below = self._make(folder, descriptor) if make else self._enter(folder, descriptor)
            if below is None:
                return None
            self._open[folder] = descriptor = below
            if len(self._open) > _MAX_OPEN:
                os.close(self._open.popitem(last=False)[1])
        return descriptor

    def _make(self, entry: int, parent: int) -> int | None:
        """Make a folder, or go into the one that is there. Whoever only looks makes none."""
        return self._enter(entry, parent)

    def _enter(self, entry: int, parent: int) -> int | None:
        state = self._states[entry]
        if state == _Folder.FAILED or (state == _Folder.UNKNOWN and not self._merges):
            return None
        try:
            descriptor = os.open(self.name(entry), OPEN_FOLDER, dir_fd=parent)
        except (OSError, TransferFailed):
            return None
        if state == _Folder.UNKNOWN and not self._merge(entry, descriptor):
            os.close(descriptor)
            return None
        return descriptor

    def _merge(self, entry: int, descriptor: int) -> bool:
        """Use a folder that is there. Return whether that can be: not if another entry is that folder already."""
        inode = os.fstat(descriptor).st_ino
        if inode in self._ours:
            return False
        self._ours.add(inode)
        self._states[entry] = _Folder.MERGED
        return True


class Target(Walk):
    """The folder that a transfer is received into. Belongs to one thread."""

    def __init__(self, folder: Path, manifest: Manifest, overwrite: Overwrite = Overwrite.RENAME) -> None:
        """Raises `TransferFailed` when `folder` cannot be opened."""
        super().__init__(folder, manifest, merges=overwrite is not Overwrite.RENAME)
        self.overwrite = overwrite
        self._folder = folder.resolve()
        self._journal: ReceivedJournal | None = None
        self._numbers: dict[tuple[int, str], int] = {}  # the next to try, where many are taken
        self._failures: dict[int, str] = {}  # of folders

    def journal_to(self, journal: ReceivedJournal) -> None:
        """Go on with what `journal` knows, and tell it what gets which name."""
        self._journal = journal

    def is_fatal(self, error: OSError) -> bool:
        """Whether nothing more can be stored here: the disk is full or broken, or the target folder was removed."""
        return error.errno in _FATAL or os.fstat(self.root).st_nlink == 0

    def path(self, entry: int) -> Path:
        """Where a top-level entry is."""
        return self._folder / self.name(entry)

    def folder_of(self, entry: int) -> int:
        """Return the open folder that an entry belongs in, made if it was not there.

        Raises `TransferFailed` when that is impossible, or `OSError`.
        """
        descriptor = self._walk(self.manifest.parent(entry), make=True)
        assert descriptor is not None
        return descriptor

    def make_folder(self, entry: int) -> None:
        """Make a folder, or find it. Raises as `folder_of` does."""
        self._walk(entry, make=True)

    def finish_folder(self, entry: int) -> None:
        """Nothing more gets into a folder: give it its mode and time, if we have made it. Raises `OSError`."""
        if self._states[entry] != _Folder.OURS:
            return
        descriptor = self.existing(entry)
        if descriptor is None or not self._the_journal.is_placed(entry, os.fstat(descriptor)):
            return  # somebody has put another there
        item = self.manifest[entry]
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, final_mode(item.mode) | 0o100)
        set_time(descriptor, item.mtime_ns)

    def place(self, entry: int, file: Unplaced) -> None:
        """Give a file its name. Raises `TransferFailed` when there is no name for it, or `OSError`."""
        folder = self.folder_of(entry)
        for number, name in enumerate(self._candidates(entry)):
            try:
                file.link(folder, name)
            except FileExistsError:
                if number or not self._may_replace(entry, folder, name):
                    continue
                file.replace(folder, name)
            self._placed(entry, name, file.status.st_ino)
            return

    def make_link(self, entry: int, staging: Staging) -> None:
        """Make a link. Everything it may lead to has its name already. Raises as `place` does."""
        text, folder, item = self._link_text(entry), self.folder_of(entry), self.manifest[entry]
        for number, name in enumerate(self._candidates(entry)):
            try:
                os.symlink(text, name, dir_fd=folder)
            except FileExistsError:
                if self._is_link(folder, name, text):  # by an earlier try, perhaps
                    return
                if number or not self._may_replace(entry, folder, name):
                    continue
                staging.replace_by_link(text, folder, name)
            with contextlib.suppress(OSError):
                os.utime(name, ns=(item.mtime_ns, item.mtime_ns), dir_fd=folder, follow_symlinks=False)
            self._placed(entry, name, os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino)
            return

    def find(self, entry: int) -> os.stat_result | None:
        """Return the status of a file or folder that an earlier try has placed; None if it is not as it was placed.

        To be asked once, of folders before what is in them. What is not there any more is the user's business.
        """
        journal = self._the_journal
        folder = self.existing(self.manifest.parent(entry)) if journal.was_placed(entry) else None
        if folder is None:
            return None
        try:
            for name in self._candidates(entry):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not journal.is_placed(entry, status):
                    continue
                if self.manifest.kind(entry) is EntryKind.FOLDER:
                    if not stat.S_ISDIR(status.st_mode):
                        return None
                    self._states[entry] = _Folder.OURS
                    self._ours.add(status.st_ino)
                self._placed(entry, name, status.st_ino)
                return status
        except (OSError, TransferFailed):
            pass
        return None

    def is_kept_out(self, entry: int) -> bool:
        """Whether a file is not wanted, as something that is to stay has its name. To be asked after `find`."""
        if self.overwrite is not Overwrite.NEVER or self._gets_numbers(entry):
            return False
        status = self.look(entry)
        return status is not None and status.st_ino not in self._ours

    def take_back(self, entry: int, staging: Staging, name: str) -> StagedFile | None:
        """Move a placed file into `staging` as `name`: it is to be changed. None, if it is not as it was placed."""
        status = self.look(entry)
        if status is None or not self._the_journal.is_placed(entry, status):
            return None
        return staging.take(self.folder_of(entry), self.name(entry), status, name)

    def take_existing(self, entry: int, staging: Staging, name: str) -> StagedFile | None:
        """Move the file that an entry would replace into `staging` as `name`: it is to be overwritten itself.

        None, if there is none, or none of which nobody else knows: it may have one name only.
        """
        folder = self.folder_of(entry)
        status = None if self.overwrite is not Overwrite.ALWAYS or self._gets_numbers(entry) else self.look(entry)
        if status is None or not stat.S_ISREG(status.st_mode) or status.st_ino in self._ours:
            return None
        if status.st_nlink != 1 or status.st_uid != os.geteuid():
            return None
        return staging.take(folder, self.name(entry), status, name)

    @property
    def _the_journal(self) -> ReceivedJournal:
        assert self._journal is not None
        return self._journal

    def _placed(self, entry: int, name: str, inode: int) -> None:
        if name != self.manifest.name(entry):  # else it is safe as it came
            self._names[entry] = name
        parent = self.manifest.parent(entry)
        if self._merges and (parent == TOP or self._states[parent] != _Folder.OURS):
            self._ours.add(inode)

    def _candidates(self, entry: int) -> Iterator[str]:
        """Yield the names to try, the one suggested first. Raises `UnsafeName`, or `TransferFailed` behind the last."""
        name = self._suggested(entry)
        yield name
        parent = self.manifest.parent(entry)
        for number in range(self._numbers.get((parent, name), 1), MAX_NAMES):
            yield with_number(name, number)
            if number >= _LOOKED_UP:
                self._numbers[parent, name] = number + 1
        raise TransferFailed(f"its folder is full of files named {name}", advice="Choose another folder.")

    def _gets_numbers(self, entry: int) -> bool:
        """Whether an entry gets another name when its own is taken, whoever by: in a folder of ours it is us."""
        parent = self.manifest.parent(entry)
        return not self._merges or (parent != TOP and self._states[parent] == _Folder.OURS)

    def _may_replace(self, entry: int, folder: int, name: str) -> bool:
        """Whether what has the name may be replaced; if not, the next name is to be tried. Raises `TransferFailed`."""
        if self._gets_numbers(entry):
            return False
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if status.st_ino in self._ours:
            return False
        if stat.S_ISDIR(status.st_mode):
            raise TransferFailed("a folder is there under its name", advice=_ELSEWHERE)
        if self.overwrite is Overwrite.NEVER:
            raise TransferFailed("it is there already", advice="Allow that it is overwritten, or renamed.")
        return True

    def _make(self, entry: int, parent: int) -> int:
        state = self._states[entry]
        if state == _Folder.FAILED:
            raise TransferFailed(self._failures[entry], advice=_ELSEWHERE)
        if state != _Folder.UNKNOWN:
            return os.open(self.name(entry), OPEN_FOLDER, dir_fd=parent)
        try:
            return self._make_new(entry, parent)
        except OSError as error:
            if self.is_fatal(error):
                raise
            why = str(error.strerror)
        except TransferFailed as error:
            why = str(error)
        self._states[entry] = _Folder.FAILED
        self._failures[entry] = f"the folder {printable(self.manifest.name(entry))} cannot be made: {why}"
        raise TransferFailed(self._failures[entry], advice=_ELSEWHERE)

    def _make_new(self, entry: int, parent: int) -> int:
        is_announced = self.manifest.parent(entry) == TOP or not self._gets_numbers(entry)
        for number, name in enumerate(self._candidates(entry)):
            if is_announced and not _is_taken(parent, name):
                self._the_journal.name(entry, name)  # before it is made: an empty folder can be found again so
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                merges = not number and not self._gets_numbers(entry)
                descriptor = self._use(entry, parent, name, merges=merges, is_announced=is_announced)
                if descriptor is None:
                    continue
            else:
                descriptor = os.open(name, OPEN_FOLDER, dir_fd=parent)
                self._made(entry, descriptor)
            self._placed(entry, name, os.fstat(descriptor).st_ino)
            return descriptor
        raise AssertionError  # `_candidates` raises behind the last

    def _made(self, entry: int, descriptor: int) -> None:
        status = os.fstat(descriptor)
        self._states[entry] = _Folder.OURS
        self._ours.add(status.st_ino)
        self._the_journal.place([(entry, status)])

    def _use(self, entry: int, parent: int, name: str, *, merges: bool, is_announced: bool) -> int | None:
        """Open the folder that is there under the name of a new one; None if the next name is to be tried."""
        try:
            descriptor = os.open(name, OPEN_FOLDER, dir_fd=parent)
        except OSError as error:
            if not merges or os.stat(name, dir_fd=parent, follow_symlinks=False).st_ino in self._ours:
                return None
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise TransferFailed("a file or link is there under its name") from error
            raise
        if self._is_our_own(entry, descriptor, name, is_announced=is_announced):
            self._made(entry, descriptor)
        elif not merges or not self._merge(entry, descriptor):
            os.close(descriptor)
            return None
        return descriptor

    def _is_our_own(self, entry: int, descriptor: int, name: str, *, is_announced: bool) -> bool:
        """Whether an earlier try has made the folder, and could not say so any more: then it is empty and new."""
        status = os.fstat(descriptor)
        if status.st_ino in self._ours or stat.S_IMODE(status.st_mode) & 0o077:
            return False
        if is_announced and self._the_journal.names.get(entry) != name:
            return False
        with os.scandir(descriptor) as inside:
            return next(inside, None) is None

    def _is_link(self, folder: int, name: str, text: str) -> bool:
        try:
            inode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino
            return os.readlink(name, dir_fd=folder) == text and inode not in self._ours
        except OSError:
            return False

    def _link_text(self, entry: int) -> str:
        """Return where a link leads, by the names that were given here. Raises `TransferFailed`.

        Two dots stand at its beginning only (see `manifest`), and up there are folders that we have walked; so, however
        it is gone, it cannot leave the topmost one. Down there what the transfer has not brought may be the user's.
        """
        folder: int | None = self.manifest.parent(entry)
        text: list[str] = []
        for part in self.manifest[entry].target.split("/"):
            if part in ("", "."):
                continue
            if part == "..":
                assert folder is not None
                folder = self.manifest.parent(folder)
                text.append(part)
                continue
            found = None if folder is None else self.manifest.find(folder, part)
            if found is None and not self._is_in_ours(entry):
                raise TransferFailed("it is a link to something that does not come with it")
            text.append(safe_name(part, inside=True) if found is None else self.name(found))
            folder = found if found is not None and self.manifest.kind(found) is EntryKind.FOLDER else None
        return "/".join(text) or "."

    def _is_in_ours(self, entry: int) -> bool:
        """Whether we have made the topmost folder that an entry is in, and so all that is in there."""
        while (parent := self.manifest.parent(entry)) != TOP:
            entry = parent
        return self._states[entry] == _Folder.OURS


def conflicts(folder: Path, manifest: Manifest, only: Collection[int] | None = None) -> list[int]:
    """Return which entries have names that are taken in `folder`; below the top level, a folder's by a folder is not.

    `only` names the entries that matter, a folder for all that is in it; None is everything. Raises `TransferFailed`
    when `folder` cannot be opened. May take a while: it looks for each.
    """
    found, asked = [], None if only is None else frozenset(only)
    matters, is_nowhere = bytearray(len(manifest)), bytearray(len(manifest))
    with contextlib.closing(Walk(folder, manifest, merges=True)) as walk:
        for entry in range(len(manifest)):
            parent = manifest.parent(entry)
            matters[entry] = asked is None or entry in asked or (parent != TOP and matters[parent])
            status = None if parent != TOP and is_nowhere[parent] else walk.look(entry)
            is_folder = status is not None and stat.S_ISDIR(status.st_mode)
            is_nowhere[entry] = not is_folder
            is_merged = parent != TOP and is_folder and manifest.kind(entry) is EntryKind.FOLDER
            if status is not None and matters[entry] and not is_merged:
                found.append(entry)
    return found


def free_space(folder: Path) -> int:
    """Return how many bytes may be written there. Raises `TransferFailed` when nobody can say."""
    try:
        status = os.statvfs(folder)
    except OSError as error:
        raise unwritable(f"{folder} cannot be written to", error) from error
    return status.f_bavail * status.f_frsize


_ELSEWHERE = "Choose another folder, or rename what is in the way."


def _is_taken(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
