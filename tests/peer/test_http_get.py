import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from p2p_core.errors import Malformed
from p2p_peer.gather.http_get import MAX_BODY_BYTES, Url, get

from tests.peer.fake_gateway import WebServer, http_answer, web_server
from tests.peer.pair import soon, until
from tests.peer.tls_server import Authority, server_context, shown

HERE = "127.0.0.1"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """One without a proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


@pytest.fixture
def authority(environment: pytest.MonkeyPatch, tmp_path: Path) -> Authority:
    """One that this system trusts."""
    authority = Authority.make()
    roots = tmp_path / "roots.pem"
    roots.write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    environment.setenv("SSL_CERT_FILE", str(roots))
    return authority


async def got(url: str) -> bytes:
    return await soon(get(Url.of(url), socket.AF_INET))


def at(server: WebServer, path: str = "/ip", scheme: str = "http") -> str:
    return f"{scheme}://{HERE}:{server.port}{path}"


def to(where: str, status: str = "302 Found") -> bytes:
    return http_answer(b"moved", status, [f"Location: {where}"])


async def test_what_is_sent() -> None:
    async with web_server(lambda *_: http_answer(b"1")) as server:
        assert await got(at(server, "/ip?a=b#c")) == b"1"
    assert server.requests == [
        (
            "GET /ip?a=b HTTP/1.1",
            {
                "host": f"{HERE}:{server.port}",
                "user-agent": "punchwire",
                "accept": "text/plain, application/json",
                "connection": "close",
            },
            b"",
        )
    ]


async def test_over_one_ip_version_and_from_one_address() -> None:
    async with web_server(lambda *_: http_answer(b"1"), host="::1") as server:
        url = Url.of(f"http://[::1]:{server.port}/")
        assert await soon(get(url, socket.AF_INET6)) == b"1"
        with pytest.raises(OSError, match=r"."):
            await soon(get(url, socket.AF_INET))
    async with web_server(lambda *_: http_answer(b"1")) as server:
        assert await soon(get(Url.of(at(server)), socket.AF_INET, IPv4Address(HERE))) == b"1"
        with pytest.raises(OSError, match=r"."):  # not an address of ours
            await soon(get(Url.of(at(server)), socket.AF_INET, IPv4Address("203.0.113.77")))


async def test_the_largest_body_and_one_that_is_larger() -> None:
    async with web_server(lambda *_: http_answer(bytes(MAX_BODY_BYTES))) as server:
        assert len(await got(at(server))) == MAX_BODY_BYTES
    endless = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(10_000_000)
    for answer in (http_answer(bytes(MAX_BODY_BYTES + 1)), endless):
        async with web_server(lambda *_, answer=answer: answer) as server:  # type: ignore[misc]
            with pytest.raises(Malformed, match="the answer is too long"):
                await got(at(server))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "ends too early"),
        (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        (http_answer(b"1", "500 Internal Server Error"), "status 500"),
        (http_answer(b"1", "304 Not Modified"), "status 304"),
        (to(""), "a URL has 1 to"),
        (http_answer(b"", "302 Found"), "a URL has 1 to"),
        (to("ftp://127.0.0.1/"), "neither with https"),
        (to("file:///etc/passwd"), "neither with https"),
        (to("//me:secret@127.0.0.1/"), "a name or a password"),
    ],
)
async def test_what_is_no_answer(answer: bytes, why: str) -> None:
    async with web_server(lambda *_: answer) as server:
        with pytest.raises(Malformed, match=why):
            await got(at(server))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "status",
    ["301 Moved Permanently", "302 Found", "303 See Other", "307 Temporary Redirect", "308 Permanent Redirect"],
)
async def test_three_redirects_are_followed(status: str) -> None:
    answers = {"/ip": to("/b", status), "/b": to("c?d", status), "/c?d": to("?e", status), "/c?e": http_answer(b"1")}
    async with web_server(lambda first, _: answers[first.split()[1]]) as server:
        assert await got(at(server)) == b"1"
        answers["/c?e"] = to("/f", status)
        with pytest.raises(Malformed, match="leads on more than 3 times"):
            await got(at(server))


async def test_a_redirect_to_itself_ends() -> None:
    async with web_server(lambda *_: to("/ip")) as server:
        with pytest.raises(Malformed, match="leads on more than 3 times"):
            await got(at(server))
    assert len(server.requests) == 4


async def test_a_certificate_has_to_be_vouched_for(authority: Authority) -> None:
    good = server_context(shown(names=[HERE], authority=authority))
    others = server_context(shown(names=["address.example"], authority=authority))
    nobodys = server_context(shown(names=[HERE]))
    async with web_server(lambda *_: http_answer(b"1"), good) as server:
        assert await got(at(server, scheme="https")) == b"1"
    for bad in (others, nobodys):
        async with web_server(lambda *_: http_answer(b"1"), bad) as server:
            with pytest.raises(ssl.SSLCertVerificationError):
                await got(at(server, scheme="https"))
        assert server.requests == []


async def test_from_http_to_https_it_is_followed_but_not_back(authority: Authority) -> None:
    tls = server_context(shown(names=[HERE], authority=authority))
    async with web_server(lambda *_: http_answer(b"1")) as plain, web_server(lambda *_: to(at(plain)), tls) as secure:
        with pytest.raises(Malformed, match="from https to http"):
            await got(at(secure, scheme="https"))
        assert plain.requests == []
        plain.answer, secure.answer = lambda *_: to(at(secure, scheme="https")), lambda *_: http_answer(b"2")
        assert await got(at(plain)) == b"2"


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_what_comes_by_drops_ends_with_the_time_of_who_asks(head: bytes) -> None:
    ended = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        with closing(writer), suppress(ConnectionError):
            while True:
                writer.write(b"0")
                await writer.drain()
                await asyncio.sleep(0.005)
        ended.set()

    listening = await asyncio.start_server(drip, HERE, 0)
    port = listening.sockets[0].getsockname()[1]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await get(Url.of(f"http://{HERE}:{port}/"), socket.AF_INET)
    await soon(ended.wait())  # nothing is left open
    listening.close()
    await listening.wait_closed()


async def test_a_tls_handshake_that_does_not_go_on_ends_as_well() -> None:
    async with web_server(lambda *_: None) as server:  # it waits for a request
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await get(Url.of(at(server, scheme="https")), socket.AF_INET)


class Proxy:
    """Passes on what it is told to connect to; notes the head of each request."""

    def __init__(self) -> None:
        self.heads: list[list[str]] = []
        self.port = 0
        self.status = "200 Connection established"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").rstrip().split("\r\n")
        self.heads.append([first, *rest])
        with closing(writer):
            method, target, _ = first.split()
            if method != "CONNECT":
                writer.write(http_answer(b"by proxy"))
                return
            writer.write(f"HTTP/1.1 {self.status}\r\n\r\n".encode())
            if not self.status.startswith("200"):
                return
            there, further = await asyncio.open_connection(HERE, int(target.rpartition(":")[2]))
            with closing(further):
                await asyncio.gather(_pass_on(reader, further), _pass_on(there, writer))


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with _proxy() as proxy:
        yield proxy


@asynccontextmanager
async def _proxy() -> AsyncIterator[Proxy]:
    proxy = Proxy()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())  # type: ignore[arg-type]
        await proxy.serve(reader, writer)

    listening = await asyncio.start_server(serve, HERE, 0)
    proxy.port = listening.sockets[0].getsockname()[1]
    yield proxy
    listening.close()
    await listening.wait_closed()
    await until(lambda: all(task.done() for task in tasks))


async def test_a_proxy_of_the_environment(environment: pytest.MonkeyPatch, proxy: Proxy) -> None:
    environment.setenv("http_proxy", f"http://me:%73ecret@{HERE}:{proxy.port}")
    assert await got("http://address.example/ip") == b"by proxy"
    [[first, *rest]] = proxy.heads
    assert first == "GET http://address.example/ip HTTP/1.1"
    assert "Host: address.example" in rest
    login = base64.b64encode(b"me:secret").decode("ascii")
    assert f"Proxy-Authorization: Basic {login}" in rest


async def test_through_a_proxy_tls_is_with_the_server(
    environment: pytest.MonkeyPatch, authority: Authority, proxy: Proxy
) -> None:
    environment.setenv("https_proxy", f"{HERE}:{proxy.port}")
    good = server_context(shown(names=["address.example"], authority=authority))
    others = server_context(shown(names=["other.example"], authority=authority))
    async with web_server(lambda *_: http_answer(b"1"), good) as server:
        assert await got(f"https://address.example:{server.port}/ip") == b"1"
        assert proxy.heads == [
            [f"CONNECT address.example:{server.port} HTTP/1.1", f"Host: address.example:{server.port}"]
        ]
        assert server.requests[0][0] == "GET /ip HTTP/1.1"
    async with web_server(lambda *_: http_answer(b"1"), others) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await got(f"https://address.example:{server.port}/ip")
        assert server.requests == []


async def test_a_proxy_that_refuses(environment: pytest.MonkeyPatch, proxy: Proxy) -> None:
    environment.setenv("https_proxy", f"http://{HERE}:{proxy.port}")
    proxy.status = "407 Proxy Authentication Required"
    with pytest.raises(Malformed, match="the proxy answers with status 407"):
        await got("https://address.example/ip")


@pytest.mark.parametrize("text", ["socks5://127.0.0.1:1080", "https://127.0.0.1:1", "http://", "http://127.0.0.1:x"])
async def test_a_proxy_that_does_not_speak_http(environment: pytest.MonkeyPatch, text: str) -> None:
    environment.setenv("http_proxy", text)
    with pytest.raises(Malformed, match="the proxy of the environment is none"):
        await got("http://address.example/ip")


async def test_no_proxy_where_the_environment_says_so(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("http_proxy", "http://127.0.0.1:1")
    environment.setenv("no_proxy", f"other.example,{HERE}")
    async with web_server(lambda *_: http_answer(b"1")) as server:
        assert await got(at(server)) == b"1"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://Address.Example", Url("https", "address.example", 443, "/")),
        ("HTTP://address.example:8080/a/b?c=d#e", Url("http", "address.example", 8080, "/a/b?c=d")),
        ("https://[2001:DB8::1]/", Url("https", "2001:db8::1", 443, "/")),
        ("http://192.0.2.1:80", Url("http", "192.0.2.1", 80, "/")),
        ("https://a-b_c.example.?x", Url("https", "a-b_c.example.", 443, "/?x")),
    ],
)
def test_a_url(text: str, url: Url) -> None:
    assert Url.of(text) == url
    assert Url.of(str(url)) == url


def test_a_url_as_text() -> None:
    assert str(Url.of("https://a.example:443/b?c")) == "https://a.example/b?c"
    assert str(Url.of("http://[::1]:443")) == "http://[::1]:443/"
    assert Url.of("https://a.example").authority == "a.example:443"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "address.example",
        "address.example:443",
        "/ip",
        "ftp://address.example",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///ip",
        "https://:443/",
        "https://me@address.example",
        "https://me:secret@address.example",
        "https://@address.example",
        "https://address.example:0",
        "https://address.example:65536",
        "https://address.example:x",
        "https://[::1",
        "https://[v1.a]/",
        "https://a b/",
        "https://a/\n",
        "https://a/\r\nHost: b",
        "https://bücher.example",
        "https://a%00b/",
        "https://" + "a" * 2041,
    ],
)
def test_what_is_no_url(text: str) -> None:
    with pytest.raises(Malformed):
        Url.of(text)


def test_the_longest_url() -> None:
    assert Url.of("https://a/" + "b" * 2038).host == "a"
