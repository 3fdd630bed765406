"""What a transfer is made of: entries, names, sets of entries."""

import posixpath

from p2p_core import limits
from p2p_core.errors import Malformed, UnsafeName
from p2p_core.link_targets import link_stays_inside
from p2p_core.manifest import EntryKind, Manifest
from p2p_core.ranges import Ranges, as_bits, each, from_bits, ranges_of
from p2p_core.safe_names import MAX_COMPONENT_BYTES, STAGING_PREFIX, safe_name, with_number
from p2p_core.wire import entries, frames
from p2p_core.wire.frames import HEADER_BYTES, Kind

from tests.core.signed_receipt import ENTRIES
from tests.fuzz.shapes import chosen, shown
from tests.fuzz.target import Target
from tests.vectors import pages

_ROOM = 32  # bytes that stay free in a name, for a number


def _listed() -> bytes:
    """Return the entries of the golden frame, some of which no transfer may have."""
    read = frames.decode(Kind.ENTRIES, pages.read("frame-entries")[HEADER_BYTES:])
    assert isinstance(read, frames.Entries)
    return entries.pack(read.entries)


def _manifest(data: bytes) -> Manifest:
    manifest = Manifest(limits.MIN_BLOCK_SIZE)
    for entry in entries.unpack(data):
        manifest.add(entry)
    return manifest


def _manifest_holds(manifest: Manifest) -> None:
    listed = list(manifest)
    assert entries.unpack(entries.pack(listed)) == listed
    assert entries.pack_range(manifest, 0, len(manifest)) == entries.pack(listed)
    assert manifest.total_bytes <= limits.MAX_FILE_BYTES
    assert manifest.blocks <= limits.MAX_BLOCKS
    shown(manifest.label())
    for index, entry in enumerate(listed):
        path = manifest.path(index)
        assert not {"", ".", ".."} & set(path)
        assert not any("/" in name or "\0" in name for name in path)
        assert len(path) <= limits.MAX_DEPTH + 1
        assert manifest.find(entry.parent, entry.name) == index
        if entry.kind is EntryKind.LINK:
            led = posixpath.normpath(posixpath.join(*path[:-1], entry.target))
            assert led.split("/")[0] == path[0], f"{path} leads to {led}"
        if manifest.block_count(index):
            assert manifest.entry_of(manifest.first_block(index)) == index
            assert 0 < manifest.block_length(manifest.first_block(index)) <= manifest.block_size


def _name(data: bytes) -> tuple[str, bool]:
    inside, data = chosen(data, 2)
    return safe_name(data.decode("utf-8", "ignore"), inside=bool(inside)), bool(inside)


def _name_holds(made: tuple[str, bool]) -> None:
    """What comes out stays in its folder, is seen as it is, and is taken as it is the second time."""
    name, inside = made
    assert 0 < len(name.encode()) <= MAX_COMPONENT_BYTES - _ROOM
    assert not set(name) & set('/\\\0<>:"|?*')
    assert name == name.rstrip(" .")
    assert name not in ("", ".", "..")
    assert inside or not name.startswith(".")
    assert not name.casefold().startswith(STAGING_PREFIX)
    assert safe_name(name, inside=inside) == name
    assert len(with_number(name, 999).encode()) <= MAX_COMPONENT_BYTES


def _link(data: bytes) -> tuple[int, str]:
    depth, data = chosen(data, 8)
    target = data.decode("utf-8", "ignore").replace("\0", "")
    if not target or not link_stays_inside(depth, target):
        raise Malformed("a link that leads out")
    return depth, target


def _link_holds(read: tuple[int, str]) -> None:
    """Whatever else is a link on the way: the dots that lead up come first, so they count from a real folder."""
    depth, target = read
    folders = [f"folder {level}" for level in range(depth)]
    assert posixpath.normpath(posixpath.join("/", *folders, target)).split("/")[1:2] == folders[:1]


def _ranges_hold(read: Ranges) -> None:
    assert from_bits(as_bits(read)) == read
    assert ranges_of(each(read)) == read
    assert all(count > 0 for _, count in read)


TARGETS = (
    Target(
        name="manifest",
        of=("p2p_core.wire.entries.unpack", "p2p_core.manifest.Manifest.add"),
        parse=_manifest,
        raises=(Malformed,),
        seeds=lambda: [_listed(), entries.pack(ENTRIES)],
        holds=_manifest_holds,
    ),
    Target(
        name="safe-name",
        of=("p2p_core.safe_names.safe_name",),
        parse=_name,
        raises=(UnsafeName,),
        seeds=lambda: [
            b"\0report.pdf",
            b"\0..bashrc",
            b"\1.gitignore",
            b"\0CON.txt",
            b"\0\xc2\xb9.\xe2\x80\x8c",
            b"\1.Punch\xe2\x80\x8dwire-1",
            b"\0" + b"x" * 300 + b".tar.gz",
            b"\0C:x",
            b"\0a/b",
        ],
        holds=_name_holds,
    ),
    Target(
        name="link",
        of=("p2p_core.link_targets.link_stays_inside",),
        parse=_link,
        raises=(Malformed,),
        seeds=lambda: [b"\1a", b"\2../a/./b", b"\2../../a", b"\3a/../b", b"\1/etc"],
        holds=_link_holds,
    ),
    Target(
        name="ranges",
        of=("p2p_core.ranges.from_bits",),
        parse=from_bits,
        raises=(ValueError,),
        seeds=lambda: [b"\xff\x01", b"\x05\x00\x80", b"\0"],
        holds=_ranges_hold,
    ),
)
