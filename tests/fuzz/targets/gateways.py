"""What gateways, web services and the machines of a network answer."""

import asyncio
from typing import Any

from p2p_core.errors import Malformed
from p2p_core.wire import nat_pmp, pcp
from p2p_peer.gather.address_service import _address
from p2p_peer.gather.http_answer import Head, read_body, read_head
from p2p_peer.gather.http_get import Url, _Proxy
from p2p_peer.gather.interfaces import IPAddress
from p2p_peer.gather.port_mapping import soap
from p2p_peer.gather.port_mapping.http import Location

from tests.fuzz.shapes import shown, text_of, without_waiting
from tests.fuzz.target import Target
from tests.vectors import pages

_MOST = 256  # bytes of a body
_BASE = "http://192.0.2.1:5000/description/root.xml"
_FOUND = b"HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: http://192.0.2.1:5000/root.xml\r\n\r\n"
_DESCRIPTION = b"""<?xml version="1.0"?>
<root xmlns="urn:schemas-upnp-org:device-1-0"><URLBase>http://192.0.2.1:49000/</URLBase><device><serviceList>
<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType><controlURL>/c?x</controlURL></service>
<service><serviceType>urn:schemas-upnp-org:service:WANPPPConnection:1</serviceType><controlURL>p</controlURL></service>
</serviceList></device></root>"""
_ANSWER = b"""<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>
<u:GetExternalIPAddressResponse xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1">
<NewExternalIPAddress>203.0.113.5</NewExternalIPAddress></u:GetExternalIPAddressResponse></s:Body></s:Envelope>"""
_FAULT = b"""<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><s:Fault><detail>
<UPnPError><errorCode>718</errorCode></UPnPError></detail></s:Fault></s:Body></s:Envelope>"""
_ENCODED = [
    b'<?xml version="1.0" encoding="%s"?><a>x</a>' % name
    for name in (b"utf-16", b"koi8-r", b"utf-7", b"idna", b"punycode", b"undefined", b"zip", b"big5")
]


class _NoLoop:
    """All the loop that a reader needs of which nothing is awaited."""

    def get_debug(self) -> bool:
        return False


async def _http(data: bytes) -> tuple[Head, bytes]:
    reader = asyncio.StreamReader(limit=4096, loop=_NoLoop())  # type: ignore[arg-type]
    reader.feed_data(data)
    reader.feed_eof()
    head = await read_head(reader)
    return head, await read_body(reader, head, _MOST)


def _http_holds(read: tuple[Head, bytes]) -> None:
    head, body = read
    assert 100 <= head.status <= 599
    assert len(head.headers) <= 64
    assert len(body) <= _MOST


def _location_holds(read: Location) -> None:
    assert Location.of(str(read)) == read
    shown(str(read))
    str(read).encode("ascii")  # as it goes into a request
    assert " " not in read.path


def _url_holds(read: Url) -> None:
    assert Url.of(str(read)) == read
    str(read).encode("ascii")


def _services_hold(found: list[soap.Service]) -> None:
    """Nothing is called on another machine than the one that gave the description."""
    assert len(found) <= soap.MAX_SERVICES
    for service in found:
        _location_holds(service.control)
        assert str(service.control.server.ip) == "192.0.2.1"
        soap.call(service, "GetExternalIPAddress", {})


def _told_holds(ip: IPAddress) -> None:
    assert ip.is_global
    shown(str(ip))


def _refusal_shown(read: Any) -> None:
    if isinstance(read, pcp.Refused | nat_pmp.Refused):
        assert read.result
        shown(str(read))


TARGETS = (
    Target(
        name="pcp",
        of=("p2p_core.wire.pcp.decode",),
        parse=pcp.decode,
        raises=(Malformed,),
        seeds=lambda: map(pages.read, ("pcp-mapped", "nat-pmp-external-answer")),
        holds=_refusal_shown,
    ),
    Target(
        name="nat-pmp",
        of=("p2p_core.wire.nat_pmp.decode",),
        parse=nat_pmp.decode,
        raises=(Malformed,),
        seeds=lambda: map(pages.read, ("nat-pmp-external-answer", "nat-pmp-mapped")),
        holds=_refusal_shown,
    ),
    Target(
        name="ssdp",
        of=("p2p_peer.gather.port_mapping.soap.read_location",),
        parse=soap.read_location,
        raises=(Malformed,),
        seeds=lambda: [_FOUND],
        holds=_location_holds,
    ),
    Target(
        name="location",
        of=("p2p_peer.gather.port_mapping.http.Location.of",),
        parse=lambda data: Location.of(text_of(data), _BASE),
        raises=(Malformed,),
        seeds=lambda: [b"http://192.0.2.1:80/a?b", b"/a", b"http://[2001:db8::1]/", b"//192.0.2.2"],
        holds=_location_holds,
    ),
    Target(
        name="description",
        of=("p2p_peer.gather.port_mapping.soap.read_services",),
        parse=lambda data: soap.read_services(data, Location.of(_BASE)),
        raises=(Malformed,),
        seeds=lambda: [_DESCRIPTION, b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', *_ENCODED],
        holds=_services_hold,
    ),
    Target(
        name="soap-answer",
        of=("p2p_peer.gather.port_mapping.soap.read_answer",),
        parse=lambda data: soap.read_answer(data, "GetExternalIPAddress"),
        raises=(Malformed,),
        seeds=lambda: [_ANSWER],
    ),
    Target(
        name="soap-fault",
        of=("p2p_peer.gather.port_mapping.soap.read_fault",),
        parse=soap.read_fault,
        raises=(Malformed,),
        seeds=lambda: [_FAULT],
    ),
    Target(
        name="http-answer",
        of=("p2p_peer.gather.http_answer.read_head", "p2p_peer.gather.http_answer.read_body"),
        parse=lambda data: without_waiting(_http(data)),
        raises=(Malformed,),
        seeds=lambda: [
            b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            b"HTTP/1.0 404 \r\n\r\nuntil the end",
            b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n",
            b"HTTP/1.1 301 Moved\r\nLocation: https://address.example.org/\r\n\r\n",
        ],
        holds=_http_holds,
    ),
    Target(
        name="url",
        of=("p2p_peer.gather.http_get.Url.of", "p2p_peer.config.address_service_url"),
        parse=lambda data: Url.of(text_of(data), "https://address.example.org/ip"),
        raises=(Malformed,),
        seeds=lambda: [b"https://address.example.org:8443/a?b", b"/x", b"//[2001:db8::1]:1", b"http://u@h/", b"?q"],
        holds=_url_holds,
    ),
    Target(
        name="proxy",
        of=("p2p_peer.gather.http_get._Proxy.of",),
        parse=lambda data: _Proxy.of(text_of(data)),
        raises=(Malformed,),
        seeds=lambda: [b"http://user:p%20w@proxy.example:3128/", b"proxy:8080", b"[::1]:1", b"socks5://x"],
    ),
    Target(
        name="address-service",
        of=("p2p_peer.gather.address_service._address",),
        parse=_address,
        raises=(Malformed,),
        seeds=lambda: [b"8.8.8.8\n", b'{"ip": "2606:4700::1111"}', b"2606:4700::1111%1", b'{"ip": [[["8.8.8.8"]]]}'],
        holds=_told_holds,
    ),
)
