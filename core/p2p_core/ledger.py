"""The hashes of a transfer's blocks, as far as they are known, and the root over them. docs/protocol/transfer.md.

Either side fills one while the blocks pass, and at the end both compute the same root. A ledger belongs to one thread.
"""

import struct
from collections.abc import Iterable, Iterator

from blake3 import blake3

from p2p_core import limits
from p2p_core.errors import LocalProtocolError
from p2p_core.fields import u32
from p2p_core.manifest import Entry, Manifest
from p2p_core.ranges import Ranges

__all__ = ["LEFT_OUT", "MAX_RUN", "Ledger", "block_digest", "file_root", "transfer_root"]

MAX_RUN = 1024  # digests that `known_runs` gives at once
LEFT_OUT = bytes(limits.HASH_BYTES)  # stands for the root of a file that was not transferred

# BLAKE3's own separation of uses (BLAKE3 paper, §6.2, derive_key).
_FILE = blake3(derive_key_context="punchwire file root v1")
_TRANSFER = blake3(derive_key_context="punchwire transfer root v1")
# kind, parent + 1, size, mode, mtime_ns, and the lengths of name and target, which follow; then the root, of a file
_ENTRY = struct.Struct(">BIQHQHH")
_FILE_END = struct.Struct(">QI")  # size and block size
_DIGEST = limits.HASH_BYTES
_CHUNK = 256  # digests that are kept together


class Ledger:
    """What is known of the blocks of a transfer, by ordinal. The manifest is complete before there is one."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._digests: dict[int, bytearray] = {}  # chunks, so that a lone block far out takes no more than one
        self._known: dict[int, int] = {}  # by chunk: a bit for each digest that is there
        self._left_out = bytearray(len(manifest))  # a flag for each entry
        self._stream_size: int | None = None

    def put(self, first: int, digests: bytes | memoryview) -> None:
        """Note the hashes of consecutive blocks. One that is known already is replaced."""
        count, rest = divmod(len(digests), _DIGEST)
        end = limits.MAX_BLOCKS if self._end is None else self._end
        if rest or not 0 <= first <= first + count <= end:
            raise LocalProtocolError(f"{len(digests)} bytes of hashes from block {first} on")
        done = 0
        while done < count:
            chunk, at = divmod(first + done, _CHUNK)
            taken = min(count - done, _CHUNK - at)
            kept = self._digests.setdefault(chunk, bytearray())
            kept.extend(bytes(max(0, (at + taken) * _DIGEST - len(kept))))
            kept[at * _DIGEST : (at + taken) * _DIGEST] = digests[done * _DIGEST : (done + taken) * _DIGEST]
            self._known[chunk] = self._known.get(chunk, 0) | _bits(at, taken)
            done += taken

    def forget(self, first: int, count: int) -> None:
        """Note that the hashes of consecutive blocks are not known, or not any more."""
        for chunk, bits in self._kept(first, count):
            self._known[chunk] &= ~bits

    def has_any(self, first: int, count: int) -> bool:
        """Say whether the hash of any of consecutive blocks is known."""
        return any(self._known[chunk] & bits for chunk, bits in self._kept(first, count))

    def digest(self, ordinal: int) -> bytes | None:
        """The hash of a block, if it is known."""
        chunk, at = divmod(ordinal, _CHUNK)
        if not self._known.get(chunk, 0) >> at & 1:
            return None
        return bytes(self._digests[chunk][at * _DIGEST : (at + 1) * _DIGEST])

    def known_runs(self) -> Iterator[tuple[int, bytes]]:
        """Yield all that is known, rising: an ordinal and the hashes from it on, at most MAX_RUN of them."""
        first, run = 0, bytearray()
        for chunk in sorted(self._known):
            for at, length in _runs(self._known[chunk]):
                ordinal = chunk * _CHUNK + at
                if run and (ordinal != first + len(run) // _DIGEST or len(run) + length * _DIGEST > MAX_RUN * _DIGEST):
                    yield first, bytes(run)
                    run.clear()
                if not run:
                    first = ordinal
                run += self._digests[chunk][at * _DIGEST : (at + length) * _DIGEST]
        if run:
            yield first, bytes(run)

    def has_all(self, entry: int) -> bool:
        """Say whether every block of an entry is known; of a stream: and that no more follow."""
        first = self._manifest.first_block(entry)
        if entry != self._manifest.stream:
            return self._has(first, first + self._manifest.block_count(entry))
        return self._end is not None and self._has(first, self._end)

    def end_stream(self, size: int) -> None:
        """Note how many bytes the stream had."""
        if self._manifest.stream is None or self._stream_size not in (None, size):
            raise LocalProtocolError("a stream ends that there is none of, or that has ended")
        self._stream_size = size

    def leave_out(self, entry: int) -> None:
        """Note that a file is not transferred: it is not wanted, or cannot be read or stored.

        A folder or link has no content that could be left out: for one this changes nothing.
        """
        self._left_out[entry] = self._manifest.is_file(entry)

    def is_left_out(self, entry: int) -> bool:
        """Say whether a file is not transferred."""
        return bool(self._left_out[entry])

    def absent(self) -> Ranges:
        """Return the files that are left out, as ranges of entries.

        Folders and links between two of them do not end a range: a whole tree that is left out is one.
        """
        ranges: list[tuple[int, int]] = []
        joined = False  # no file that is transferred has come since the last range
        for entry, left_out in enumerate(self._left_out):
            if left_out:
                first = ranges.pop()[0] if joined else entry
                ranges.append((first, entry + 1 - first))
                joined = True
            elif joined:
                joined = not self._manifest.is_file(entry)
        return tuple(ranges)

    def size(self, entry: int) -> int:
        """Bytes of an entry; those of a stream when it has ended."""
        if entry == self._manifest.stream and self._stream_size is not None:
            return self._stream_size
        return self._manifest.size(entry)

    def file_root(self, entry: int) -> bytes:
        """Return the root over the blocks of a file. Raises `LocalProtocolError` unless all of them are known."""
        if not self.has_all(entry):
            raise LocalProtocolError(f"blocks of entry {entry} are not known")
        size, block_size = self.size(entry), self._manifest.block_size
        first = self._manifest.first_block(entry)
        return file_root(self._slices(first, first + -(-size // block_size)), size, block_size)

    def leaf(self, entry: int) -> bytes:
        """What stands for the content of an entry in the root: of a file its root or zeros, else nothing."""
        if self._left_out[entry]:
            return LEFT_OUT
        return self.file_root(entry) if self._manifest.is_file(entry) else b""

    def root(self) -> bytes:
        """Return the root of the transfer. Raises `LocalProtocolError` unless each file is complete or left out."""
        leaves = ((entry, self.size(n), self.leaf(n)) for n, entry in enumerate(self._manifest))
        return transfer_root(leaves, self._manifest.block_size)

    @property
    def _end(self) -> int | None:
        """The ordinal behind the last, unless a stream is still going on."""
        if self._manifest.stream is None:
            return self._manifest.blocks
        if self._stream_size is None:
            return None
        return self._manifest.blocks + -(-self._stream_size // self._manifest.block_size)

    def _has(self, first: int, end: int) -> bool:
        while first < end:  # from the last one back: it is mostly the last to be known
            chunk = (end - 1) // _CHUNK
            start = max(first, chunk * _CHUNK)
            bits = _bits(start % _CHUNK, end - start)
            if self._known.get(chunk, 0) & bits != bits:
                return False
            end = start
        return True

    def _kept(self, first: int, count: int) -> list[tuple[int, int]]:
        """Return the chunks of consecutive blocks that are kept, and the bits of these blocks in each.

        It takes no longer than what is known is long: of a huge file that is only claimed, that is nothing.
        """
        end = first + count
        chunks = range(first // _CHUNK, -(-end // _CHUNK))
        some = [chunk for chunk in self._known if chunk in chunks] if len(self._known) < len(chunks) else chunks
        spans = ((chunk, max(first - chunk * _CHUNK, 0), min(end - chunk * _CHUNK, _CHUNK)) for chunk in some)
        return [(chunk, _bits(at, until - at)) for chunk, at, until in spans if chunk in self._known]

    def _slices(self, first: int, end: int) -> Iterator[bytearray]:
        """Yield the hashes of blocks that are all known, chunk by chunk."""
        while first < end:
            chunk, at = divmod(first, _CHUNK)
            taken = min(end - first, _CHUNK - at)
            yield self._digests[chunk][at * _DIGEST : (at + taken) * _DIGEST]
            first += taken


def block_digest(data: bytes | memoryview) -> bytes:
    """BLAKE3 of a block's data, 32 bytes."""
    return blake3(data).digest()


def file_root(digests: Iterable[bytes | bytearray], size: int, block_size: int) -> bytes:
    """Return the root of a file, 32 bytes, over the hashes of its blocks, any number at a time, and its size."""
    hasher = _FILE.copy()
    for some in digests:
        hasher.update(some)
    hasher.update(_FILE_END.pack(size, block_size))
    return hasher.digest()


def transfer_root(leaves: Iterable[tuple[Entry, int, bytes]], block_size: int) -> bytes:
    """Return the root of a transfer, 32 bytes, over its entries in order, each with its size and leaf."""
    hasher = _TRANSFER.copy()
    hasher.update(u32(block_size))
    for entry, size, leaf in leaves:
        name, target = entry.name.encode(), entry.target.encode()
        fixed = _ENTRY.pack(entry.kind, entry.parent + 1, size, entry.mode, entry.mtime_ns, len(name), len(target))
        hasher.update(fixed + name + target + leaf)
    return hasher.digest()


def _bits(at: int, count: int) -> int:
    return ((1 << count) - 1) << at


def _runs(known: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of set bits: where each begins, and how long it is."""
    at = 0
    while known:
        skipped = (known & -known).bit_length() - 1
        known >>= skipped
        length = (~known & (known + 1)).bit_length() - 1
        yield at + skipped, length
        known >>= length
        at += skipped + length
