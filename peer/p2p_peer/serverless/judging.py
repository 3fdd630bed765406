"""Whose key is believed where no mediator introduces anybody: trust on first use, as ssh does it.

docs/protocol/direct.md has the rules, and docs/decisions/direct-trust.md why they are these.
"""

import time
from dataclasses import dataclass

from p2p_core.errors import PeerKeyChanged, PeerUnknown, ProofFailed
from p2p_core.identity import PeerId
from p2p_core.wire.candidate import Address

from p2p_peer.events import Standing
from p2p_peer.trust import KnownPeer, TrustStore

__all__ = ["Judge"]


@dataclass(frozen=True, slots=True)
class Judge:
    """Says who may come. Each method raises `UsageError` when what is remembered cannot be read."""

    store: TrustStore
    expected: PeerId | None  # the other side, if its key was given: nobody else may come
    target: str | None  # "host:port" of whom we want, in its canonical spelling, if that was given
    require_known: bool

    def check(self, peer: PeerId, where: Address) -> Standing:
        """Say why the peer that is at `where` is believed to be the right one.

        Raises `ProofFailed`, `PeerKeyChanged` or `PeerUnknown` when it is not.
        """
        if self.expected is not None:
            if peer != self.expected:
                raise ProofFailed(
                    f"the peer at {where} has another key than the one given: "
                    f"it is {peer.short}, and should be {self.expected.short}",
                    advice="Ask the other side for its public key, by another way than this one.",
                )
            return Standing.EXPECTED
        there = None if self.target is None else self.store.peer_at(self.target)
        if there is not None and there.id != peer:
            raise self._changed(there, peer, where)
        known = self.store.peer(peer)
        if known is None and self.require_known:
            raise PeerUnknown(f"the peer at {where} is {peer.short}, whose key is not known")
        if known is None:
            return Standing.FIRST_USE
        if self.target is None or there is not None:
            return Standing.REMEMBERED
        if self.require_known and not known.verified:
            raise PeerUnknown(
                f"the peer at {where} is {known.name or peer.short}, whose key is known, but not for {self.target}",
                advice=f"If it is the right one, compare the words: {self.store.command('verify', peer.short)}",
            )
        return Standing.KNOWN_ELSEWHERE

    def remember(self, peer: PeerId, standing: Standing, *, at_target: bool) -> str:
        """Remember a peer that has proved its key, if it is the target under that name; return what the user calls it.

        Raises `UsageError`, too, when that cannot be written.
        """
        if standing is not Standing.EXPECTED:
            self.store.met(peer, self.target if at_target else None, int(time.time()))
        known = self.store.peer(peer)
        return "" if known is None or known.name is None else known.name

    def _changed(self, there: KnownPeer, peer: PeerId, where: Address) -> PeerKeyChanged:
        called = f"{there.name} at {self.target}" if there.name else f"the peer at {self.target}"
        return PeerKeyChanged(
            f"the key of {called} has changed: it was {there.id.short}, and what is at {where} has {peer.short}. "
            "Somebody may be in its place",
            advice="Ask the other side, on the phone, whether it has a new key. If so, forget the old one: "
            f"{self.store.command('remove', there.id.short)}",
        )
