"""What UPnP says: where a device is described, which services it has, and calls of them.

UPnP Device Architecture 1.1 and 2.0, §1.3 (search), §2 (description) and §3 (control); the services are those of an
Internet Gateway Device, WANIPConnection:1 and :2 and WANPPPConnection:1. All of it comes from machines that anybody
may have put into the network: a document with a DOCTYPE, and so with entities of its own, is not read at all.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from p2p_core.errors import Malformed

from p2p_peer.gather.port_mapping.http import Location

__all__ = [
    "Service",
    "call",
    "read_answer",
    "read_fault",
    "read_location",
    "read_services",
    "search",
]

# As routers have them, the better one first: the second version knows AddAnyPortMapping.
SERVICES = tuple(
    f"urn:schemas-upnp-org:service:{name}" for name in ("WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1")
)
DEVICES = tuple(f"urn:schemas-upnp-org:device:InternetGatewayDevice:{version}" for version in (1, 2))
MAX_SERVICES = 4  # that are looked into; a router has one for each way to the outside it knows


@dataclass(frozen=True, slots=True)
class Service:
    """A service of a device, and where it is called."""

    kind: str  # one of SERVICES
    control: Location


def search(host: str, device: str) -> bytes:
    """Return the datagram that asks for devices of a kind; `host` is where it goes, "address:port"."""
    # MX: an answer to a group may be delayed for so many seconds, and 1 is the least.
    lines = ["M-SEARCH * HTTP/1.1", f"HOST: {host}", 'MAN: "ssdp:discover"', "MX: 1", f"ST: {device}", "", ""]
    return "\r\n".join(lines).encode("ascii")


def read_location(data: bytes) -> Location:
    """Read an answer to a search: where the device is described. Raises `Malformed`."""
    status, *lines = data.decode("latin-1").split("\r\n")
    if not status.startswith("HTTP/1.1 200"):
        raise Malformed("not an answer to a search")
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "location":
            return Location.of(value.strip())
    raise Malformed("a device without a description")


def read_services(document: bytes, described: Location) -> list[Service]:
    """Return the services of a description that map ports, the better ones first. Raises `Malformed`.

    What they name as the place to call them is believed only on the server that gave the description.
    """
    found = []
    base = str(described)
    for element in _parse(document).iter():
        values = _leaves(element)
        base = values.get("URLBase") or base  # of UPnP 1.0; it stands in the first element
        if values.get("serviceType") in SERVICES:
            control = Location.of(values.get("controlURL", ""), base)
            if control.server.ip == described.server.ip:
                found.append(Service(values["serviceType"], control))
    return sorted(found, key=lambda service: SERVICES.index(service.kind))[:MAX_SERVICES]


def call(service: Service, action: str, arguments: Mapping[str, object]) -> tuple[dict[str, str], bytes]:
    """Return the headers and the body of an HTTP POST that calls `action`; `arguments` in the standard's order."""
    given = "".join(f"<{name}>{value}</{name}>" for name, value in arguments.items())
    body = (
        '<?xml version="1.0"?>\n'
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
        ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
        f'<s:Body><u:{action} xmlns:u="{service.kind}">{given}</u:{action}></s:Body></s:Envelope>\n'
    )
    headers = {"Content-Type": 'text/xml; charset="utf-8"', "SOAPAction": f'"{service.kind}#{action}"'}
    return headers, body.encode("ascii")


def read_answer(document: bytes, action: str) -> dict[str, str]:
    """Return the values that a call of `action` gave back, by name. Raises `Malformed`."""
    for element in _parse(document).iter():
        if _name(element) == f"{action}Response":
            return _leaves(element)
    raise Malformed("an answer to another call")


def read_fault(document: bytes) -> int:
    """Return the number of the error that a call ended with. Raises `Malformed`."""
    for element in _parse(document).iter():
        code = _leaves(element).get("errorCode", "")
        if re.fullmatch(r"[0-9]{3}", code, re.ASCII):
            return int(code)
    raise Malformed("an error without a number")


class _Builder(ET.TreeBuilder):
    def doctype(self, *_: Any) -> None:
        raise Malformed("a document with a DOCTYPE")


def _parse(document: bytes) -> ET.Element:
    parser = ET.XMLParser(target=_Builder())  # noqa: S314 - without a DOCTYPE there are no entities to expand
    try:
        parser.feed(document)
        root = parser.close()
    except (ET.ParseError, LookupError, ValueError):  # the latter two of an encoding that Python does not have
        raise Malformed("not XML") from None
    assert isinstance(root, ET.Element)
    return root


def _leaves(element: ET.Element) -> dict[str, str]:
    return {_name(child): (child.text or "").strip() for child in element if len(child) == 0}


def _name(element: ET.Element) -> str:
    """Return an element's name without its namespace: routers get those wrong."""
    return element.tag.rpartition("}")[2]
