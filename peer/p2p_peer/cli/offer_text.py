"""An offer as people see it before they take it: what is in it, how much that is, and whether there is room for it.

Names stand here as they will be on the disk.
"""

import contextlib
import re
from array import array
from dataclasses import dataclass
from pathlib import Path

from p2p_core.errors import UnsafeName
from p2p_core.manifest import TOP, EntryKind, Manifest
from p2p_core.printable import printable
from p2p_core.safe_names import safe_name

from p2p_peer.cli.human import counted, human_size, shortened, shown_name
from p2p_peer.transfer.tree import SourceTree

__all__ = [
    "Item",
    "choice",
    "item_lines",
    "items_to_choose",
    "left_out_lines",
    "offer_title",
    "room_line",
    "top_items",
]

_SHOWN = 10  # items
_NAME = 40  # columns
_MOST_DIGITS = 7  # of an item's number


@dataclass(frozen=True, slots=True)
class Item:
    """What can be taken or left, with all that is in it."""

    entry: int
    name: str  # as the sender has it
    kind: EntryKind
    files: int
    size: int | None  # None: a stream, which shows it at its end
    is_inside: bool  # a folder that is offered with it

    @property
    def shown(self) -> str:
        """Its name."""
        return _shown(self.name, self.kind, inside=self.is_inside)

    @property
    def amount(self) -> str:
        """How much it is."""
        if self.kind is EntryKind.LINK:
            return "a link"
        size = "size not known" if self.size is None else human_size(self.size)
        return f"{counted(self.files)}, {size}" if self.kind is EntryKind.FOLDER else size


def top_items(manifest: Manifest) -> list[Item]:
    """Return what is at the top of an offer."""
    return _items_in(manifest, TOP)


def items_to_choose(manifest: Manifest) -> list[Item]:
    """Return what can be taken or left by itself: what is at the top, or if that is a single folder, what is in it."""
    top = manifest.top_level()
    is_folder = len(top) == 1 and manifest.kind(top[0]) is EntryKind.FOLDER
    return _items_in(manifest, top[0] if is_folder else TOP)


def offer_title(manifest: Manifest) -> str:
    """Say in a few words what is offered, and how much."""
    top = manifest.top_level()
    if not top:
        return "nothing"
    kind = manifest.kind(top[0])
    name = _shown(manifest.name(top[0]), kind, inside=False)
    size = human_size(manifest.total_bytes)
    if len(top) > 1:
        return f"{name} and {len(top) - 1} more ({counted(manifest.files)}, {size})"
    if kind is EntryKind.FOLDER:
        return f"{name} ({counted(manifest.files)}, {size})"
    return f"{name} (size not known)" if kind is EntryKind.STREAM else f"{name} ({size})"


def item_lines(manifest: Manifest) -> list[str]:
    """Return a line for each of the first items, with the numbers to choose them by; none for a single file."""
    items = items_to_choose(manifest)
    if not items or (len(items) == 1 and items[0].entry in manifest.top_level()):
        return []
    rows = [(printable(item.shown), item.amount) for item in items[:_SHOWN]]
    width = max(min(len(name), _NAME) for name, _ in rows)
    lines = [f"{n:>4}  {shortened(name, _NAME):<{width}}  {amount}" for n, (name, amount) in enumerate(rows, 1)]
    return lines if len(items) <= _SHOWN else [*lines, f"      and {len(items) - _SHOWN} more"]


def room_line(manifest: Manifest, free: int, folder: Path) -> str:
    """Say how much room there is in `folder`, or that it is too little."""
    room = f"{human_size(free)} are free in {folder.absolute()}"
    fits = manifest.total_bytes <= free
    return room if fits else f"it does not fit, unless most of it is there already: {room}"


def left_out_lines(tree: SourceTree) -> list[str]:
    """Say what of the folders that we offer is not sent, and why: a line for each reason."""
    return [
        f"left out, {why.value}: {', '.join(shown_name(path) for path in left_out.examples)}"
        + f" and {left_out.count - len(left_out.examples)} more" * (left_out.count > len(left_out.examples))
        for why, left_out in tree.left_out.items()
    ]


def choice(text: str, items: list[Item]) -> tuple[int, ...] | None:
    """Return the entries of the items that numbers such as 1,3-5 stand for; None for what says nothing of the kind."""
    chosen: set[int] = set()
    for part in re.split(r"[,\s]+", text.strip()):
        match = re.fullmatch(rf"(\d{{1,{_MOST_DIGITS}}})(?:-(\d{{1,{_MOST_DIGITS}}}))?", part)
        if match is None:
            return None
        first, last = int(match[1]), int(match[2] or match[1])
        if not 1 <= first <= last <= len(items):
            return None
        chosen.update(range(first, last + 1))
    return tuple(items[number - 1].entry for number in sorted(chosen))


def _items_in(manifest: Manifest, folder: int) -> list[Item]:
    entries: list[int] = []
    files: list[int] = []
    sizes: list[int] = []
    item_of = array("i")  # by entry: the number of the item that it is, or is in; -1 for none
    for entry in range(len(manifest)):
        parent = manifest.parent(entry)
        if parent == folder:
            item = len(entries)
            entries.append(entry)
            files.append(0)
            sizes.append(0)
        else:
            item = -1 if parent == TOP else item_of[parent]
        item_of.append(item)
        if item >= 0 and manifest.kind(entry) in (EntryKind.FILE, EntryKind.STREAM):
            files[item] += 1
            sizes[item] += manifest.size(entry)
    return [
        Item(entry, manifest.name(entry), kind, count, None if kind is EntryKind.STREAM else size, folder != TOP)
        for entry, count, size in zip(entries, files, sizes, strict=True)
        for kind in (manifest.kind(entry),)
    ]


def _shown(name: str, kind: EntryKind, *, inside: bool) -> str:
    with contextlib.suppress(UnsafeName):  # it will be refused for that, or by the user
        name = safe_name(name, inside=inside)
    return shown_name(name) + "/" * (kind is EntryKind.FOLDER)
