import asyncio
from ipaddress import IPv4Address

import pytest
from p2p_core.errors import Malformed
from p2p_core.wire.candidate import Address
from p2p_peer.gather.port_mapping import http
from p2p_peer.gather.port_mapping.http import Answer, Location, exchange

from tests.peer.fake_gateway import http_answer, web_server
from tests.peer.pair import soon

OURS = IPv4Address("127.0.0.1")
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


async def get(answer: bytes | None) -> Answer:
    async with web_server(lambda *_: answer) as server:
        return await soon(exchange(server.at("/desc.xml"), OURS))


async def test_what_is_sent() -> None:
    async with web_server(lambda *_: http_answer(b"")) as server:
        await soon(exchange(server.at("/desc.xml?a=b"), OURS))
        await soon(exchange(server.at("/ctl"), OURS, {"SOAPAction": '"x"'}, b"<body/>"))
        host = f"127.0.0.1:{server.port}"
    assert server.requests == [
        ("GET /desc.xml?a=b HTTP/1.1", {"host": host, "connection": "close"}, b""),
        (
            "POST /ctl HTTP/1.1",
            {"host": host, "connection": "close", "soapaction": '"x"', "content-length": "7"},
            b"<body/>",
        ),
    ]


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(b"hello"),
        http_answer(b"hello") + b" and more",
        HEAD + b"\r\nhello",
        b"HTTP/1.0 200\r\n\r\nhello",
        HEAD.replace(b"\r\n", b"\n") + b"\nhello",
        CHUNKED + b"2\r\nhe\r\n3;name=value\r\nllo\r\n0\r\n\r\n",
        CHUNKED.replace(b"chunked", b"Chunked") + b"05\r\nhello\r\n00\r\nTrailer: x\r\n\r\n",
    ],
)
async def test_answers_of_all_kinds(answer: bytes) -> None:
    assert await get(answer) == Answer(200, b"hello")


async def test_the_status_is_told() -> None:
    assert await get(http_answer(b"no", "500 Internal Server Error")) == Answer(500, b"no")
    assert await get(http_answer(b"", "302 Found", ["Location: http://203.0.113.9/"])) == Answer(302, b"")


LARGEST = http.MAX_BODY_BYTES


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(bytes(LARGEST)),
        HEAD + b"\r\n" + bytes(LARGEST),
        CHUNKED + b"%x\r\n%s\r\n0\r\n" % (LARGEST, bytes(LARGEST)),
    ],
    ids=["length", "until the end", "chunked"],
)
async def test_the_largest_body(answer: bytes) -> None:
    assert len((await get(answer)).body) == LARGEST


WRONG = {
    "nothing": (b"", "ends too early"),
    "no HTTP": (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
    "another version": (b"HTTP/2 200 OK\r\n\r\n", "not HTTP"),
    "a status that is none": (b"HTTP/1.1 999 OK\r\n\r\n", "not HTTP"),
    "a head that ends too early": (HEAD + b"A: b\r\n", "ends too early"),
    "an endless line": (HEAD + b"A: " + b"b" * 100_000, "line that is too long"),
    "endless headers": (HEAD + b"".join(b"A%d: b\r\n" % n for n in range(1000)), "too many headers"),
    "a length that is no number": (HEAD + b"Content-Length: -1\r\n\r\n", "no number"),
    "a length too large": (HEAD + b"Content-Length: %d\r\n\r\n" % (LARGEST + 1), "too long"),
    "a length of a thousand digits": (HEAD + b"Content-Length: " + b"9" * 1000 + b"\r\n\r\n", "too long"),
    "a body that ends too early": (HEAD + b"Content-Length: 6\r\n\r\nhello", "ends too early"),
    "a body too large": (HEAD + b"\r\n" + bytes(LARGEST + 1), "too long"),
    "a chunk too large": (CHUNKED + b"fffffff\r\n", "too long"),
    "chunks too large": (CHUNKED + (b"8000\r\n" + bytes(0x8000) + b"\r\n") * 9, "too long"),
    "a chunk that ends too early": (CHUNKED + b"5\r\nhell", "ends too early"),
    "a chunk longer than it says": (CHUNKED + b"4\r\nhello\r\n", "longer than it says"),
    "a chunk without a length": (CHUNKED + b"-5\r\nhello\r\n", "without a length"),
    "chunks that end too early": (CHUNKED + b"5\r\nhello\r\n", "ends too early"),
}


@pytest.mark.parametrize(("answer", "why"), WRONG.values(), ids=WRONG)
async def test_what_is_no_answer(answer: bytes, why: str) -> None:
    with pytest.raises(Malformed, match=why):
        await get(answer)


async def test_silence_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "ANSWER_TIME", 0.05)
    with pytest.raises(TimeoutError):
        await get(None)


@pytest.mark.parametrize("head", [b"", HEAD, CHUNKED, HEAD + b"Content-Length: 10000\r\n\r\n"])
async def test_what_comes_by_drops_ends(monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    """Each drop comes soon after the last one, and still there is an end."""
    monkeypatch.setattr(http, "ANSWER_TIME", 0.1)
    sent = 0

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head)
        try:
            while True:
                writer.write(b"0")
                await writer.drain()
                sent += 1
                await asyncio.sleep(0.005)
        except ConnectionError:
            writer.close()

    listening = await asyncio.start_server(drip, "127.0.0.1", 0)
    address = Address.of(*listening.sockets[0].getsockname())
    with pytest.raises((TimeoutError, Malformed)):
        await soon(exchange(Location(address, "/"), OURS))
    listening.close()
    await listening.wait_closed()
    assert sent > 0


async def test_nobody_listens() -> None:
    async with web_server(lambda *_: b"") as server:
        pass
    with pytest.raises(ConnectionRefusedError):
        await soon(exchange(server.at(), OURS))


@pytest.mark.parametrize(
    ("text", "base", "read"),
    [
        ("http://10.1.0.1:5000/root.xml", "", "http://10.1.0.1:5000/root.xml"),
        ("http://10.1.0.1", "", "http://10.1.0.1:80/"),
        ("HTTP://10.1.0.1:5000/a?b=c#d", "", "http://10.1.0.1:5000/a?b=c"),
        ("/ctl/IPConn", "http://10.1.0.1:5000/root.xml", "http://10.1.0.1:5000/ctl/IPConn"),
        ("ctl/IPConn", "http://10.1.0.1:5000/a/root.xml", "http://10.1.0.1:5000/a/ctl/IPConn"),
        ("http://10.1.0.2/x", "http://10.1.0.1:5000/", "http://10.1.0.2:80/x"),
        ("//10.1.0.2/x", "http://10.1.0.1:5000/", "http://10.1.0.2:80/x"),
        ("", "http://10.1.0.1:5000/root.xml", "http://10.1.0.1:5000/root.xml"),
    ],
)
def test_a_location_is_read(text: str, base: str, read: str) -> None:
    assert str(Location.of(text, base)) == read


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/root.xml",
        "https://10.1.0.1/",
        "file:///etc/passwd",
        "gopher://10.1.0.1:25/_HELO",
        "http://router.home/",
        "http://localhost:5000/",
        "http://0x0a010001/",
        "http://167837697/",
        "http://10.1/",
        "http://10.1.0.1:0x50/",
        "http://10.1.0.1:65536/",
        "http://10.1.0.1:-1/",
        "http://[::1/",
        "http://10.1.0.1/a b",
        "http://10.1.0.1/\x01",
        "http://10.1.0.1/é",
        "http://10.1.0.1/" + "a" * 1000,
    ],
)
def test_what_is_no_location(text: str) -> None:
    with pytest.raises(Malformed):
        Location.of(text)
