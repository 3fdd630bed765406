"""What a web service says of our public address, where no STUN server answers. docs/protocol/punching.md.

It tells an address and no port. That a NAT keeps port numbers is a guess; many do.
"""

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import Callable, Collection, Sequence

from p2p_core.errors import Malformed
from p2p_core.wire.candidate import Address, Candidate, CandidateKind

from p2p_peer.gather.http_get import Url, get
from p2p_peer.gather.interfaces import IPAddress, Local

__all__ = ["AddressService"]

ANSWER_TIME = 2.0  # s; name, TCP, TLS and answer take four round trips or five, more with redirects or a proxy

_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_log = logging.getLogger(__name__)


class AddressService:
    """One service, which is asked once over each IP version."""

    def __init__(
        self, url: str, local: Local, hosts: Sequence[Candidate], failed: Callable[[str], None] = lambda why: None
    ) -> None:
        """Ask at `url`, for the ports of `hosts`. `failed` is told why it told nothing, in a clause."""
        self._url, self._local, self._hosts, self._failed = url, local, hosts, failed
        self._told: dict[int, IPAddress] = {}  # by IP version

    def candidates(self, seen: Collection[int]) -> list[Candidate]:
        """Return where our ports may be at the addresses told, but for the IP versions that STUN has `seen` us at."""
        return [
            Candidate(CandidateKind.SERVER_REFLEXIVE, transport, Address(ip, port))
            for version, ip in self._told.items()
            if version not in seen
            for transport, port in dict.fromkeys(
                (host.transport, host.address.port) for host in self._hosts if host.address.ip.version == version
            )
        ]

    async def ask(self, seen: Collection[int]) -> bool:
        """Ask over the IP versions that nothing is known of from outside; say whether it told anything.

        `seen` are those that STUN has seen us at. Takes `ANSWER_TIME` at most.
        """
        behind_nat = {host.address.ip.version for host in self._hosts}
        behind_nat -= {host.address.ip.version for host in self._hosts if host.address.ip.is_global}
        asking = [self._ask_over(version) for version in sorted(behind_nat.difference(seen))]
        reasons = await asyncio.gather(*asking)
        if reasons and all(reasons):
            self._failed(reasons[0])
        return bool(self._told)

    async def _ask_over(self, version: int) -> str:
        """Ask over one IP version; return why it told nothing, or nothing."""
        try:
            async with asyncio.timeout(ANSWER_TIME):
                ip = _address(await get(Url.of(self._url), _FAMILIES[version], self._local.bind))
            if ip.version != version:
                raise Malformed(f"it tells the address {ip}, which is not IPv{version}")
        except TimeoutError:
            why = f"no answer within {ANSWER_TIME:g} s"
        except ssl.SSLCertVerificationError as error:
            why = f"nobody vouches for its certificate ({error.verify_message})"
        except OSError as error:
            why = f"it is not reached ({error.strerror or error})"
        except Malformed as error:
            why = str(error)
        except ValueError as error:  # of a name that cannot be looked up, such as a..b
            why = f"that is no name of a computer ({error})"
        else:
            _log.info("the address service says that our public address is %s", ip)
            self._told[version] = ip
            return ""
        _log.info("the address service, over IPv%d: %s", version, why)
        return why


def _address(body: bytes) -> IPAddress:
    """Read an address, as text or in JSON. Raises `Malformed`."""
    try:
        text = body.decode("ascii").strip()
        if text.startswith("{"):
            text = str(json.loads(text)["ip"])  # of a number it makes no address
        ip = Address.of(text.partition("%")[0], 1).ip  # a zone is a thing of that machine
    except (ValueError, KeyError, Malformed):
        raise Malformed("what it tells is no address") from None
    if not ip.is_global or ip.is_multicast:
        raise Malformed(f"the address {ip}, which it tells, is not a public one")
    return ip
