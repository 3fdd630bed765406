"""What a transfer is made of, as it stands in frames and in journals: equal entries have equal bytes.

    u16 count
    for each: u8 kind | i32 parent, -1 at the top | u64 size | u16 mode | u64 mtime_ns
    for each, ended by NUL: its name; of a link then its target

There may be a million of them: this is a fifth of the work that a protobuf message for each would be.
"""

import struct
from collections.abc import Iterable

from p2p_core.errors import LocalProtocolError, Malformed
from p2p_core.manifest import Entry, EntryKind, Manifest

__all__ = ["pack", "pack_range", "unpack"]

_COUNT = struct.Struct(">H")
_ROW = struct.Struct(">BiQHQ")
_KINDS = dict(enumerate(EntryKind))
_LINK = EntryKind.LINK


def pack(entries: Iterable[Entry]) -> bytes:
    """Return the bytes of at most 65 535 entries. Raises `LocalProtocolError` for what has none."""
    rows, texts = bytearray(), []
    try:
        for entry in entries:
            rows += _ROW.pack(entry.kind, entry.parent, entry.size, entry.mode, entry.mtime_ns)
            texts.append(entry.name)
            if entry.kind is _LINK:
                texts.append(entry.target)
        return _packed(rows, texts)
    except (struct.error, UnicodeEncodeError) as error:
        raise LocalProtocolError(f"entries that cannot be written: {error}") from None


def pack_range(manifest: Manifest, first: int, count: int) -> bytes:
    """Return the bytes of consecutive entries of a manifest: the same as `pack`, and quicker."""
    rows, texts = bytearray(), []
    for index in range(first, first + count):
        kind, size = manifest.kind(index), manifest.size(index)
        rows += _ROW.pack(kind, manifest.parent(index), size, manifest.mode(index), manifest.mtime_ns(index))
        texts.append(manifest.name(index))
        if kind is _LINK:
            texts.append(manifest[index].target)
    return _packed(rows, texts)


def unpack(body: bytes) -> list[Entry]:
    """Return the entries that `body` has. Raises `Malformed`; whether a transfer may have them is not looked at."""
    entries = []
    try:
        (count,) = _COUNT.unpack_from(body)
        end = _COUNT.size + count * _ROW.size
        *texts, rest = body[end:].decode().split("\0")
        text = iter(texts)
        for kind, parent, size, mode, mtime_ns in _ROW.iter_unpack(body[_COUNT.size : end]):
            name = next(text)
            target = next(text) if kind == _LINK else ""
            entries.append(Entry(_KINDS[kind], parent, name, size, mode, mtime_ns, target))
    except (struct.error, ValueError, KeyError, StopIteration):
        raise Malformed("entries that do not parse") from None
    if rest or next(text, None) is not None or len(entries) != count:
        raise Malformed("entries that do not parse")
    return entries


def _packed(rows: bytearray, texts: list[str]) -> bytes:
    if any("\0" in text for text in texts):
        raise LocalProtocolError("an entry with a NUL in its name")
    return _COUNT.pack(len(rows) // _ROW.size) + bytes(rows) + "\0".join([*texts, ""]).encode()
