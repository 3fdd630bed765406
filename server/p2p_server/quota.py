"""How many at once: in all, and from one place."""

from collections import Counter

from p2p_core.wire.candidate import Address

__all__ = ["Place", "Quota", "source_of"]

_IPV6_SITE_BYTES = 8


def source_of(address: Address | None) -> bytes:
    """Name the place an address belongs to: an IPv4 address, or an IPv6 /64, which one customer has whole.

    Addresses that cannot be told (None) are all one place.
    """
    return b"" if address is None else address.ip.packed[:_IPV6_SITE_BYTES]


class Quota:
    """Counts who is inside."""

    def __init__(self, total: int, per_source: int | None) -> None:
        """Allow `total` in all, and `per_source` from one source; None does not count sources."""
        self._total = total
        self._per_source = per_source
        self._inside = 0
        self._by_source: Counter[bytes] = Counter()

    def enter(self, source: bytes) -> bool:
        """Take a place and return True; return False when none is left."""
        if self._inside >= self._total:
            return False
        if self._per_source is not None and self._by_source[source] >= self._per_source:
            return False
        self.enter_anyway(source)
        return True

    def enter_anyway(self, source: bytes) -> None:
        """Take a place although none may be left: nobody else enters until there is room again."""
        self._inside += 1
        self._by_source[source] += 1

    def leave(self, source: bytes) -> None:
        """Give back a place that was taken."""
        self._inside -= 1
        self._by_source[source] -= 1
        if not self._by_source[source]:
            del self._by_source[source]

    @property
    def inside(self) -> int:
        """How many are inside now."""
        return self._inside


class Place:
    """One stream's place in a quota, which it has or has not."""

    def __init__(self, quota: Quota, source: bytes) -> None:
        self._quota = quota
        self._source = source
        self._taken = False

    def take(self) -> bool:
        """Take it and return True; return False when none is left."""
        self._taken = self._taken or self._quota.enter(self._source)
        return self._taken

    def take_anyway(self) -> None:
        """Take it although none may be left."""
        if not self._taken:
            self._taken = True
            self._quota.enter_anyway(self._source)

    def give_back(self) -> None:
        """Give it back, if it is taken."""
        if self._taken:
            self._taken = False
            self._quota.leave(self._source)
