import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import Malformed
from p2p_core.wire.candidate import Address
from p2p_peer.gather.port_mapping import soap
from p2p_peer.gather.port_mapping.http import Location
from p2p_peer.gather.port_mapping.soap import Service

from tests.core.wire_strategies import mutated

DESCRIBED = Location(Address.of("10.1.0.1", 5000), "/root/desc.xml")
IP1, IP2, PPP = (
    f"urn:schemas-upnp-org:service:{kind}" for kind in ("WANIPConnection:1", "WANIPConnection:2", "WANPPPConnection:1")
)


def described(*services: tuple[str, str], before: str = "", base: str = "") -> bytes:
    """A description as routers have it: the services sit two devices deep."""
    listed = "".join(
        f"<service><serviceType>{kind}</serviceType><serviceId>urn:upnp-org:serviceId:1</serviceId>"
        f"<controlURL>{url}</controlURL><eventSubURL>/e</eventSubURL><SCPDURL>/s.xml</SCPDURL></service>"
        for kind, url in services
    )
    return (
        f'<?xml version="1.0"?>{before}\n<root xmlns="urn:schemas-upnp-org:device-1-0">{base}'
        "<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1</deviceType>"
        "<serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>"
        "<controlURL>/l3f</controlURL></service></serviceList>"
        f"<deviceList><device><deviceList><device><serviceList>{listed}</serviceList></device></deviceList></device>"
        "</deviceList></device></root>"
    ).encode()


def found(document: bytes) -> list[tuple[str, str]]:
    return [(service.kind, str(service.control)) for service in soap.read_services(document, DESCRIBED)]


def test_the_services_that_map_ports_the_better_ones_first() -> None:
    document = described((PPP, "/ppp"), (IP1, "ip1"), (IP2, "http://10.1.0.1:6000/ip2"))
    assert found(document) == [
        (IP2, "http://10.1.0.1:6000/ip2"),
        (IP1, "http://10.1.0.1:5000/root/ip1"),
        (PPP, "http://10.1.0.1:5000/ppp"),
    ]


def test_a_base_for_all_urls() -> None:
    assert found(described((IP1, "ip"), base="<URLBase>http://10.1.0.1:7000/b/</URLBase>")) == [
        (IP1, "http://10.1.0.1:7000/b/ip")
    ]
    assert found(described((IP1, "ip"), base="<URLBase/>")) == [(IP1, "http://10.1.0.1:5000/root/ip")]


@pytest.mark.parametrize("url", ["http://203.0.113.9/ctl", "//10.1.0.2:5000/ctl"])
def test_what_is_called_elsewhere_is_passed_over(url: str) -> None:
    assert found(described((IP2, url), (IP1, "/ctl"))) == [(IP1, "http://10.1.0.1:5000/ctl")]
    assert found(described((IP1, "/ctl"), base="<URLBase>http://203.0.113.9/</URLBase>")) == []


def test_not_too_many_are_looked_into() -> None:
    assert len(found(described(*[(IP1, f"/{number}") for number in range(100)]))) == soap.MAX_SERVICES


def test_a_description_without_any() -> None:
    assert found(described()) == []
    assert found(b"<root/>") == []


BOMB = (
    '<!DOCTYPE root [<!ENTITY a "aaaaaaaaaa">'
    + "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "]>"
)
OUTSIDE = '<!DOCTYPE root [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
PLAIN = described((IP1, "/ctl"))
DANGEROUS = {
    "entities that grow": described((IP1, "&i;"), before=BOMB),
    "an entity from a file": described((IP1, "&a;"), before=OUTSIDE),
    "a document type from elsewhere": described((IP1, "/ctl"), before='<!DOCTYPE r SYSTEM "http://203.0.113.9/r.dtd">'),
    "hidden in UTF-16": described((IP1, "/ctl"), before="<!DOCTYPE r>").decode().encode("utf-16"),
}
NO_XML = {
    "nothing": b"",
    "a part": PLAIN[:-10],
    "two documents": PLAIN + PLAIN,
    "HTML": b"<html><body><br></body></html>",
    "an unknown entity": described((IP1, "&a;")),
    "an unknown encoding": b'<?xml version="1.0" encoding="klingon"?><root/>',
    "an encoding that is none of text": b'<?xml version="1.0" encoding="base64"?><root/>',
    "an encoding that XML cannot have": b'<?xml version="1.0" encoding="utf-7"?><root/>',
    "bytes that are no UTF-8": b"<root>\xff\xfe</root>",
    "a name without a space": b"<a:b/>",
}


@pytest.mark.parametrize("document", DANGEROUS.values(), ids=DANGEROUS)
def test_a_document_type_is_refused(document: bytes) -> None:
    with pytest.raises(Malformed, match="DOCTYPE"):
        soap.read_services(document, DESCRIBED)


@pytest.mark.parametrize("document", NO_XML.values(), ids=NO_XML)
def test_what_is_no_xml(document: bytes) -> None:
    with pytest.raises(Malformed, match="not XML"):
        soap.read_services(document, DESCRIBED)


def test_elements_without_end_inside_each_other() -> None:
    depth = 60_000
    assert found(b"<a>" * depth + b"</a>" * depth) == []


@pytest.mark.parametrize("url", ["http://router/ctl", "https://10.1.0.1/", "/a b"])
def test_a_service_that_cannot_be_called(url: str) -> None:
    with pytest.raises(Malformed):
        found(described((IP1, url)))


def test_a_call() -> None:
    headers, body = soap.call(
        Service(IP1, DESCRIBED), "DeletePortMapping", {"NewExternalPort": 4000, "NewRemoteHost": ""}
    )
    assert headers == {"Content-Type": 'text/xml; charset="utf-8"', "SOAPAction": f'"{IP1}#DeletePortMapping"'}
    assert (
        f'<s:Body><u:DeletePortMapping xmlns:u="{IP1}"><NewExternalPort>4000</NewExternalPort>'
        "<NewRemoteHost></NewRemoteHost></u:DeletePortMapping></s:Body>"
    ).encode() in body


def envelope(inside: str) -> bytes:
    return (
        '<?xml version="1.0"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/">'
        f"<s:Body>{inside}</s:Body></s:Envelope>"
    ).encode()


def test_what_a_call_gives_back() -> None:
    said = '<u:GetResponse xmlns:u="urn:x"><NewA> 1 </NewA><NewB/></u:GetResponse>'
    assert soap.read_answer(envelope(said), "Get") == {"NewA": "1", "NewB": ""}
    assert soap.read_answer(envelope("<GetResponse/>"), "Get") == {}
    with pytest.raises(Malformed, match="another call"):
        soap.read_answer(envelope(said), "Set")


def fault(code: str) -> bytes:
    error = f'<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>{code}</errorCode></UPnPError>'
    return envelope(f"<s:Fault><faultcode>s:Client</faultcode><detail>{error}</detail></s:Fault>")


def test_what_an_error_says() -> None:
    assert soap.read_fault(fault(" 718 ")) == 718


@pytest.mark.parametrize("code", ["", "no", "-18", "٧١٨", "99999999999"])
def test_an_error_without_a_number(code: str) -> None:
    with pytest.raises(Malformed):
        soap.read_fault(fault(code))


@given(st.binary(max_size=200) | mutated(st.just(described((IP1, "/a"), (PPP, "http://10.1.0.1/b")))))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    try:
        services = soap.read_services(data, DESCRIBED)
    except Malformed:
        return
    assert all(service.control.server.ip == DESCRIBED.server.ip for service in services)


ANSWER = (
    b"HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:1\r\n"
    b"EXT:\r\nLocation:  http://10.1.0.1:5000/root/desc.xml\r\nUSN: uuid:1\r\n\r\n"
)


def test_where_a_device_is_described() -> None:
    assert soap.read_location(ANSWER) == DESCRIBED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        ANSWER.replace(b"200", b"404"),
        ANSWER.replace(b"HTTP/1.1 200 OK", b"NOTIFY * HTTP/1.1"),
        ANSWER.replace(b"Location", b"Elsewhere"),
        ANSWER.replace(b"10.1.0.1", b"router.home"),
        ANSWER.replace(b"http", b"ftp"),
        bytes(range(256)),
    ],
)
def test_what_is_no_answer_to_a_search(data: bytes) -> None:
    with pytest.raises(Malformed):
        soap.read_location(data)


@given(st.binary(max_size=200) | mutated(st.just(ANSWER)))
def test_no_datagram_breaks_the_reader(data: bytes) -> None:
    try:
        location = soap.read_location(data)
    except Malformed:
        return
    assert location.path.isascii()
    assert location.path.isprintable()
