import asyncio
import hashlib
import socket
import ssl
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import MediatorKeyChanged, MediatorUnreachable, NotAuthenticated, UsageError
from p2p_core.proof import BindingType, ChannelBinding
from p2p_core.wire.candidate import Address
from p2p_peer import mediator_identity
from p2p_peer.mediator_identity import (
    MediatorIdentity,
    Vouched,
    reach_unauthenticated,
    recognise,
    with_new_certificate,
)
from p2p_peer.trust import MediatorId, TrustStore

from tests.peer.pair import soon
from tests.peer.tls_server import Authority, Shown, new_key, shown, tls_server


@pytest.fixture
def store(tmp_path: Path) -> TrustStore:
    return TrustStore(tmp_path / "state")


async def meet(
    shows: Shown, store: TrustStore, *, name: str | None = None, as_host: str = "127.0.0.1", **options: Any
) -> MediatorIdentity:
    """Reach a mediator that shows `shows`. What is remembered of it goes by `name`, where ports differ."""
    async with tls_server(shows) as port:
        if name is not None:
            known = store.known(name)
            if known is not None:
                store.remember(f"{as_host}:{port}", known)
        met = await soon(recognise(as_host, port, store=store, **options))
        remembered = store.known(f"{as_host}:{port}")
        if name is not None and remembered is not None:
            store.remember(name, remembered)
        return met


async def test_first_use(store: TrustStore) -> None:
    shows = shown()
    async with tls_server(shows) as port:
        met = await soon(recognise("127.0.0.1", port, store=store))
        assert met == MediatorIdentity(
            address=Address.of("127.0.0.1", port),
            id=shows.id,
            vouched=Vouched.ON_FIRST_USE,
            leaf_pem=shows.pem,
            leaf_name="punchwire.invalid",
            binding=ChannelBinding(BindingType.CERTIFICATE, hashlib.sha256(shows.der).digest()),
        )
        assert store.known(f"127.0.0.1:{port}") == shows.id
        again = await soon(recognise("127.0.0.1", port, store=store))
        assert again.vouched is Vouched.BY_MEMORY


async def test_a_name_is_remembered_as_it_was_dialled(store: TrustStore) -> None:
    shows = shown()
    async with tls_server(shows) as port:
        await soon(recognise("localhost", port, store=store))
        assert store.known(f"localhost:{port}") == shows.id
        assert store.known(f"127.0.0.1:{port}") is None


async def test_another_key_is_an_error(store: TrustStore) -> None:
    first, second = shown(), shown()
    await meet(first, store, name="mediator")
    with pytest.raises(MediatorKeyChanged, match=f"it was {first.id}, it is now {second.id}"):
        await meet(second, store, name="mediator")
    assert store.known("mediator") == first.id


async def test_another_certificate_for_the_same_key_is_none(store: TrustStore) -> None:
    key = new_key()
    await meet(shown(key), store, name="mediator")
    renewed = shown(key, names=["renewed.invalid"])
    met = await meet(renewed, store, name="mediator")
    assert met.vouched is Vouched.BY_MEMORY
    assert met.binding == ChannelBinding.of_certificate(renewed.der)
    assert met.leaf_name == "renewed.invalid"


async def test_a_certificate_that_was_renewed_since(store: TrustStore) -> None:
    key = new_key()
    met = await meet(shown(key), store)
    renewed = shown(key, names=["renewed.invalid"])
    async with tls_server(renewed) as port:
        there = replace(met, address=Address.of("127.0.0.1", port))
        now = await soon(with_new_certificate(there))
        binding = ChannelBinding.of_certificate(renewed.der)
        assert now == replace(there, leaf_pem=renewed.pem, leaf_name="renewed.invalid", binding=binding)
        assert await soon(with_new_certificate(now)) is None
    async with tls_server(shown()) as port:  # somebody else
        assert await soon(with_new_certificate(replace(met, address=Address.of("127.0.0.1", port)))) is None
    with pytest.raises(MediatorUnreachable):
        await soon(with_new_certificate(met))


async def test_without_tls_there_is_no_certificate() -> None:
    address = Address.of("127.0.0.1", 1)
    assert await with_new_certificate(MediatorIdentity(address, None, None, b"", "", ChannelBinding.none())) is None


async def test_an_id_that_was_asked_for(store: TrustStore) -> None:
    """It overrides what is remembered, and is not remembered itself: a tunnel's name changes hands."""
    first, second = shown(), shown()
    await meet(first, store, name="mediator")
    met = await meet(second, store, name="mediator", expected=second.id)
    assert met.vouched is Vouched.BY_OPTION
    assert store.known("mediator") == first.id
    with pytest.raises(MediatorKeyChanged, match="not the one that was asked for"):
        await meet(first, store, name="mediator", expected=second.id)


@pytest.mark.parametrize("damage", ["no JSON", "a folder", "no home"])
async def test_an_id_that_was_asked_for_whatever_became_of_the_memory(
    store: TrustStore, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    match damage:
        case "no JSON":
            store.folder.mkdir()
            store.path.write_text("{")
            store.path.chmod(0o600)
        case "a folder":
            store.path.mkdir(parents=True)
        case _:
            store = TrustStore()

            def home() -> Path:
                raise RuntimeError("Could not determine home directory.")

            monkeypatch.delenv("XDG_STATE_HOME", raising=False)
            monkeypatch.setattr(Path, "home", home)
    shows = shown()
    async with tls_server(shows) as port:
        met = await soon(recognise("127.0.0.1", port, store=store, expected=shows.id))
        assert (met.vouched, met.replaced) == (Vouched.BY_OPTION, None)
        with pytest.raises(UsageError):
            await soon(recognise("127.0.0.1", port, store=store))


async def test_a_mediator_that_was_met_before(store: TrustStore) -> None:
    """It has to have the id it had, whatever is remembered; if not, that is said as at a first connection."""
    shows, before = shown(), shown().id
    async with tls_server(shows) as port:
        met = await soon(recognise("127.0.0.1", port, store=store, met=shows.id))
        assert met.id == shows.id
        assert store.known(f"127.0.0.1:{port}") is None
        with pytest.raises(MediatorKeyChanged) as caught:
            await soon(recognise("127.0.0.1", port, store=store, met=before))
    assert str(caught.value) == (
        f"the key of the mediator at 127.0.0.1:{port} has changed: it was {before}, it is now {shows.id}. "
        "Somebody may be in its place"
    )
    command = f"p2p-peer trust remove 127.0.0.1:{port} --state-dir {store.folder}"
    assert caught.value.advice.endswith(f"If it is the new one: {command}")


@pytest.mark.parametrize("answer", [True, False])
async def test_the_user_is_asked_on_first_use(store: TrustStore, answer: bool) -> None:
    asked: list[MediatorId] = []

    async def confirm(mediator: MediatorId) -> bool:
        asked.append(mediator)
        return answer

    shows = shown()
    if answer:
        await meet(shows, store, name="mediator", confirm=confirm)
        await meet(shows, store, name="mediator", confirm=confirm)
        assert store.known("mediator") == shows.id
    else:
        with pytest.raises(NotAuthenticated, match="not accepted"):
            await meet(shows, store, name="mediator", confirm=confirm)
        assert store.known("mediator") is None
    assert asked == [shows.id]


# The computer's roots.


async def test_the_roots_vouch(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.make()
    trust(monkeypatch, authority)

    async def confirm(mediator: MediatorId) -> bool:
        pytest.fail("nobody is asked where the roots vouch")

    met = await meet(shown(names=["127.0.0.1"], authority=authority), store, confirm=confirm)
    assert met.vouched is Vouched.BY_ROOTS


async def test_the_roots_may_vouch_for_another_key(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.make()
    trust(monkeypatch, authority)
    first, second = (shown(names=["127.0.0.1"], authority=authority) for _ in range(2))
    met = await meet(first, store, name="mediator")
    assert (met.vouched, met.replaced) == (Vouched.BY_ROOTS, None)
    met = await meet(second, store, name="mediator")
    assert (met.vouched, met.replaced) == (Vouched.BY_ROOTS, first.id)
    assert store.known("mediator") == second.id
    met = await meet(second, store, name="mediator")
    assert (met.vouched, met.replaced) == (Vouched.BY_MEMORY, None)


async def test_the_roots_vouch_only_under_the_dialled_name(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.make()
    trust(monkeypatch, authority)
    met = await meet(shown(names=["elsewhere.example"], authority=authority), store)
    assert met.vouched is Vouched.ON_FIRST_USE


async def test_other_roots_do_not_vouch(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    trust(monkeypatch, Authority.make())
    met = await meet(shown(names=["127.0.0.1"], authority=Authority.make()), store)
    assert met.vouched is Vouched.ON_FIRST_USE


async def test_what_the_roots_vouch_for_is_what_was_shown(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody answers the first connection himself, and passes the second on."""
    authority = Authority.make()
    trust(monkeypatch, authority)
    his, real = shown(), shown(names=["127.0.0.1"], authority=authority)
    connect = asyncio.get_running_loop().create_connection
    async with tls_server(his) as his_port, tls_server(real) as real_port:

        async def create_connection(factory: Any, host: str, port: int, **options: Any) -> Any:
            vouching = options["ssl"].verify_mode is ssl.CERT_REQUIRED
            return await connect(factory, host, real_port if vouching else his_port, **options)

        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", create_connection)
        met = await soon(recognise("127.0.0.1", his_port, store=store))
    assert met.id == his.id
    assert met.vouched is Vouched.ON_FIRST_USE


def trust(monkeypatch: pytest.MonkeyPatch, authority: Authority) -> None:
    monkeypatch.setattr(ssl, "create_default_context", authority.trusting_context)


# Names in certificates: gRPC checks one.


@pytest.mark.parametrize(
    ("names", "valid"),
    [
        (["a.example", "b.example"], "a.example"),
        (["*.example"], "any.example"),
        (["192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1", "a.example"], "a.example"),
        ([], "the common name"),
    ],
)
async def test_a_name_the_certificate_covers(store: TrustStore, names: list[str], valid: str) -> None:
    met = await meet(shown(names=names, common_name="the common name"), store)
    assert met.leaf_name == valid


# Nobody is reached.


@pytest.fixture
def nobody() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


async def test_nobody_listens(store: TrustStore, nobody: int) -> None:
    with pytest.raises(MediatorUnreachable, match=f"cannot reach a mediator at 127.0.0.1:{nobody}: Connection refused"):
        await soon(recognise("127.0.0.1", nobody, store=store))
    with pytest.raises(MediatorUnreachable):
        await soon(reach_unauthenticated("127.0.0.1", nobody))
    assert not store.folder.exists()


@pytest.mark.parametrize("host", ["a..b", "x" * 70, "no such name.invalid", ""])
async def test_a_name_that_is_none(store: TrustStore, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if host in ("no such name.invalid", ""):  # not the resolver's time, but its answer

        async def getaddrinfo(*_: Any, **__: Any) -> None:
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(MediatorUnreachable, match="cannot reach a mediator at "):
        await soon(recognise(host, 1, store=store))


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
async def test_what_answers_does_not_speak_tls(store: TrustStore, says: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        with pytest.raises(MediatorUnreachable) as caught:
            await soon(recognise("127.0.0.1", server.sockets[0].getsockname()[1], store=store))
    assert ("is not a mediator: it does not speak TLS" if says else "closed the connection") in str(caught.value)


@pytest.mark.parametrize("secure", [True, False])
async def test_no_answer(store: TrustStore, monkeypatch: pytest.MonkeyPatch, secure: bool) -> None:
    monkeypatch.setattr(mediator_identity, "CONNECT_TIME", 0.05)

    async def never(*_: Any, **__: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    reaching = recognise("192.0.2.1", 1, store=store) if secure else reach_unauthenticated("192.0.2.1", 1)
    with pytest.raises(MediatorUnreachable, match=r"no answer from 192\.0\.2\.1:1 within 0\.05 s"):
        await soon(reaching)


async def test_a_dead_address_of_a_name_is_passed_over(store: TrustStore, monkeypatch: pytest.MonkeyPatch) -> None:
    shows = shown()

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        hosts = ("127.0.0.9", "127.0.0.1")  # nobody listens on the first
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in hosts]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    async with tls_server(shows) as port:
        met = await soon(recognise("mediator.example", port, store=store))
    assert met.address == Address.of("127.0.0.1", port)
    assert store.known(f"mediator.example:{port}") == shows.id


async def test_without_tls_nothing_is_known_of_it(store: TrustStore) -> None:
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    met = await soon(reach_unauthenticated("127.0.0.1", port))
    assert met == MediatorIdentity(Address.of("127.0.0.1", port), None, None, b"", "", ChannelBinding.none())
    server.close()
    await server.wait_closed()
