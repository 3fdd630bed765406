"""What two sides that are about to punch know of each other, whoever introduced them.

Punch keys choose sockets; they authenticate nobody. docs/protocol/punching.md.
"""

from dataclasses import dataclass, field
from enum import Enum

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from p2p_core import limits
from p2p_core.fields import encode, u16
from p2p_core.proof import Role
from p2p_core.wire.offer import Offer

__all__ = ["PunchPurpose", "PunchSecret", "PunchTerms"]

_LABEL = "punchwire punch key"


class PunchPurpose(Enum):
    """What a punch key authenticates."""

    UDP_PROBE = "udp-probe"
    TCP_PREAMBLE = "tcp-preamble"
    REJOIN = "rejoin"


@dataclass(frozen=True, slots=True)
class PunchSecret:
    """What punch keys are made of: secret shares, and the session they are for."""

    shares: bytes = field(repr=False)
    session: bytes  # 32 bytes

    def key(self, sender: Role, purpose: PunchPurpose) -> bytes:
        """Return the 32-byte key under which `sender` authenticates its packets: HKDF-SHA256 (RFC 5869, no salt)."""
        version = u16(limits.PROTOCOL_VERSION)
        info = encode(_LABEL, version, self.session, sender.value.encode(), purpose.value.encode())
        return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(self.shares)


@dataclass(frozen=True, slots=True)
class PunchTerms:
    """Our role, where the two sides may be reached, and the secrets they share.

    What is sent is made under the first secret; what comes may be made under any of them.
    """

    role: Role
    own: Offer
    other: Offer  # without candidates, while the other side's token is not known
    secrets: tuple[PunchSecret, ...]
    mirror: PunchSecret | None = None  # under which the other side sends, if a mediator gave both sides our role
    by_token: bool = False  # the other side's token vouches for its addresses, as no mediator sees it

    def send_key(self, purpose: PunchPurpose) -> bytes:
        """Return the key of what we send."""
        return self.secrets[0].key(self.role, purpose)

    def receive_keys(self, purpose: PunchPurpose) -> tuple[bytes, ...]:
        """Return the keys of what may come."""
        return tuple(secret.key(self.role.other, purpose) for secret in self.secrets)

    def mirror_keys(self, purpose: PunchPurpose) -> tuple[bytes, ...]:
        """Return the keys of what comes from a side that has our role, too."""
        return () if self.mirror is None else (self.mirror.key(self.role, purpose),)
