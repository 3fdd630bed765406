import asyncio
import socket

import pytest
from OpenSSL import SSL
from p2p_core.proof import Role
from p2p_peer.channel import openssl
from p2p_peer.channel.tls import TlsSocket

from tests.peer.pair import channels


def test_the_names_that_pyopenssl_hides_are_still_there() -> None:
    calls = ("SSL_read", "SSL_read_early_data", "SSL_write_early_data", "SSL_clear_mode")
    for name in (*calls, "SSL_MODE_AUTO_RETRY", "SSL_MODE_ENABLE_PARTIAL_WRITE"):
        assert hasattr(openssl._lib, name)
    assert callable(SSL.Connection._raise_ssl_error)


def test_a_server_without_a_client_waits() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        server = TlsSocket(ours, Role.RESPONDER)
        with pytest.raises(SSL.WantReadError):
            openssl.accept_until_finished(server._connection)


async def test_reads_into_the_middle_of_a_buffer() -> None:
    ours, theirs = await channels()
    ours.stream.write(memoryview(b"hello"))
    buffer = bytearray(b"__________")
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(theirs.stream.socket, readable.set)
    await readable.wait()
    loop.remove_reader(theirs.stream.socket)
    count = openssl.read_into(theirs.stream._connection, memoryview(buffer)[2:5])
    assert (count, bytes(buffer)) == (3, b"__hel_____")
    assert openssl.read_into(theirs.stream._connection, memoryview(buffer)[5:]) == 2
    assert bytes(buffer) == b"__hello___"
    with pytest.raises(SSL.WantReadError):
        openssl.read_into(theirs.stream._connection, memoryview(buffer))
    with pytest.raises(BufferError):
        openssl.read_into(theirs.stream._connection, memoryview(b"never written to"))
    ours.stream.close()
    theirs.stream.close()


@pytest.mark.parametrize("role", Role)
def test_a_read_takes_one_record_and_no_more(role: Role) -> None:
    """Else whoever sends records without data, KeyUpdates for one, keeps the event loop in one read for ever."""
    with socket.socket() as sock:
        connection = TlsSocket(sock, role)._connection
        assert not openssl._lib.SSL_set_mode(connection._ssl, 0) & openssl._lib.SSL_MODE_AUTO_RETRY  # type: ignore[attr-defined]


def test_writes_are_partial_unless_it_is_said() -> None:
    """What `whole_writes` takes back is pyOpenSSL's own doing; should that change, the function is not needed."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    partial = openssl._lib.SSL_MODE_ENABLE_PARTIAL_WRITE
    assert context.set_mode(0) & partial
    openssl.whole_writes(context)
    assert not context.set_mode(0) & partial
