"""How many at once: in all, and from one place."""

from collections import Counter
from collections.abc import Callable

from p2p_core.wire.candidate import Address

__all__ = ["Beginners", "Place", "Quota", "source_of"]

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
        if not self.has_room(source):
            return False
        self.enter_anyway(source)
        return True

    def has_room(self, source: bytes) -> bool:
        """Whether a place is left."""
        return not self.is_full and self.allows(source)

    @property
    def is_full(self) -> bool:
        """Whether no place is left to anybody."""
        return self._inside >= self._total

    def allows(self, source: bytes) -> bool:
        """Whether `source` has fewer places than it may, however many are left."""
        return self._per_source is None or self._by_source.get(source, 0) < self._per_source

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


class Beginners:
    """The places of streams that nothing stands behind yet. When all are taken, whoever has had one longest makes room.

    An honest peer needs one for two round trips and a signature; who is quick enough to push it out in that time has to
    begin as many streams as there are places in it, and so often.
    """

    def __init__(self, total: int, per_source: int | None) -> None:
        """As `Quota`."""
        self._quota = Quota(total, per_source)
        self._places: dict[Place, None] = {}  # the oldest first

    def enter(self, place: "Place", source: bytes) -> bool:
        """Take a place, the oldest one's if need be; False when one source has too many."""
        if not self._quota.allows(source):  # first: who is refused takes nobody's place
            return False
        if self._quota.is_full:
            if not self._places:  # there are no places at all
                return False
            next(iter(self._places)).make_room()
        self._quota.enter_anyway(source)
        self._places[place] = None
        return True

    def leave(self, place: "Place", source: bytes) -> None:
        """Give back a place that was taken."""
        del self._places[place]
        self._quota.leave(source)

    @property
    def inside(self) -> int:
        """How many are inside now."""
        return self._quota.inside


class Place:
    """One stream's place: none, or among those that begin, or among those that are over."""

    def __init__(self, beginners: Beginners, over: Quota, source: bytes) -> None:
        self._beginners = beginners
        self._over = over
        self._source = source
        self._begins = False
        self._lingers = False
        self._end: Callable[[], None] = _nothing

    def take(self, end: Callable[[], None]) -> bool:
        """Take one to begin and return True; False when none is left to this source, or too many of it are over.

        `end` ends the stream, should somebody else need the place: the stream then calls `linger`.
        """
        if not self._begins and self._over.has_room(self._source) and self._beginners.enter(self, self._source):
            self._begins, self._end = True, end
        return self._begins

    def make_room(self) -> None:
        """End the stream, for one that comes later."""
        self._end()
        self.linger()  # if the stream was over already, and knows of it

    def linger(self) -> None:
        """Count the stream as over until it is gone, although no place may be left among those."""
        self._stop_beginning()
        if not self._lingers:
            self._lingers = True
            self._over.enter_anyway(self._source)

    def proved(self) -> None:
        """Give back the place to begin: a key or a ticket stands behind the stream."""
        self._stop_beginning()

    def give_back(self) -> None:
        """Give back the one that is taken, if any: the stream is gone."""
        self._stop_beginning()
        if self._lingers:
            self._lingers = False
            self._over.leave(self._source)

    def _stop_beginning(self) -> None:
        if self._begins:
            self._begins = False
            self._end = _nothing
            self._beginners.leave(self, self._source)


def _nothing() -> None:
    """Be what ends a stream that need not be ended."""
