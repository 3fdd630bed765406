"""Which Redis is taken, which is waited for, and which is refused: without a password in any message."""

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis as client
from p2p_core.errors import UsageError
from p2p_server import tls
from p2p_server.stores.base import StoreUnavailable
from p2p_server.stores.redis import RedisStore

from tests import redis_server
from tests.redis_server import RedisServer
from tests.server.client import until
from tests.server.logged import events
from tests.server.redis_instances import QUICK
from tests.server.store_contract import MAX_OTHERS, Arrivals


@pytest.mark.parametrize(
    "url",
    ["redis://:sec:ret@host:port/0", "http://:secret@127.0.0.1", "redis://127.0.0.1/0?socket_timeout=secret", ""],
)
def test_what_is_no_url_of_a_redis_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UsageError) as refused:
        RedisStore(url, Arrivals().deliver, MAX_OTHERS)
    assert "secret" not in str(refused.value)


async def test_a_wrong_password_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    redis_server.needed()
    with RedisServer("--requirepass", "right") as server:
        for url in (server.url, server.url.replace("//", "//:secret@")):
            store = RedisStore(url, Arrivals().deliver, MAX_OTHERS)
            with pytest.raises(UsageError) as refused:
                await store.start()
            assert "secret" not in str(refused.value) + caplog.text
            await store.close()
        store = RedisStore(server.url.replace("//", "//:right@"), Arrivals().deliver, MAX_OTHERS)
        await store.start()
        assert store.is_available
        await store.close()


async def test_a_database_that_there_is_not_is_refused(redis: RedisServer) -> None:
    await _refused(redis.url.removesuffix("0") + "99")


async def test_one_that_lacks_a_permission_is_refused(mortal_redis: RedisServer) -> None:
    with client.Redis.from_url(mortal_redis.url) as redis:
        redis.execute_command("ACL", "SETUSER", "mediator", "on", ">right", "~*", "+@all", "-info")
    why = await _refused(mortal_redis.url.replace("//", "//mediator:right@"))
    assert "permission" in why


async def test_a_replica_is_waited_for_until_it_is_the_primary(mortal_redis: RedisServer) -> None:
    with client.Redis.from_url(mortal_redis.url) as redis:
        redis.replicaof("127.0.0.1", redis_server.free_port())
        store = RedisStore(mortal_redis.url, Arrivals().deliver, MAX_OTHERS, times=QUICK)
        await store.start()
        assert not store.is_available
        redis.replicaof("NO", "ONE")
        await until(lambda: store.is_available)
        await store.close()


async def test_one_that_is_busy_is_waited_for(mortal_redis: RedisServer) -> None:
    with client.Redis.from_url(mortal_redis.url) as redis, client.Redis.from_url(mortal_redis.url) as other:
        redis.config_set("lua-time-limit", 1)
        endless = asyncio.create_task(asyncio.to_thread(other.eval, "while true do end", 0))
        await until(lambda: _is_busy(redis))
        store = RedisStore(mortal_redis.url, Arrivals().deliver, MAX_OTHERS, times=QUICK)
        await store.start()
        assert not store.is_available
        redis.script_kill()
        with pytest.raises(client.ResponseError):
            await endless
        await until(lambda: store.is_available)
        await store.close()


def _is_busy(redis: client.Redis) -> bool:
    try:
        redis.ping()
    except client.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


async def test_what_is_not_a_redis_is_refused() -> None:
    why = await _answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert why.startswith("--store does not answer as a Redis without TLS (redis://): ")
    why = await _answering(b"HTTP/1.1 400 Bad Request\r\n\r\n", "rediss")
    assert why.startswith("--store does not answer as a Redis with TLS (rediss://): ")


@pytest.mark.parametrize(("scheme", "kind"), [("redis", "without TLS (redis://)"), ("rediss", "with TLS (rediss://)")])
async def test_what_hangs_up_may_be_no_redis(scheme: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    store = RedisStore(url, Arrivals().deliver, MAX_OTHERS, times=replace(QUICK, first_retry=60.0, last_retry=60.0))
    await store.start()
    await store.close()
    server.close()
    await server.wait_closed()
    (lost,) = events(caplog, "store-lost")
    assert str(lost["why"]).startswith(f"--store does not answer as a Redis {kind}: ")


async def test_what_redis_answers_is_told_without_where_in_a_script(caplog: pytest.LogCaptureFixture) -> None:
    redis_server.needed()
    with RedisServer("--maxmemory", "1") as server:
        store = RedisStore(server.url, Arrivals().deliver, MAX_OTHERS, times=QUICK)
        await store.start()
        await store.close()
    (lost,) = events(caplog, "store-lost")
    assert lost["why"] == "command not allowed when used memory > 'maxmemory'"


async def test_each_reason_is_told_once_until_it_is_back(caplog: pytest.LogCaptureFixture) -> None:
    membership = RedisStore("redis://127.0.0.1:1", Arrivals().deliver, MAX_OTHERS)._membership
    for why in ("reset", "refused", "reset", "refused"):
        membership._went(StoreUnavailable(why))
    assert [lost["why"] for lost in events(caplog, "store-lost")] == ["reset", "refused"]
    membership._came()
    membership._went(StoreUnavailable("reset"))
    assert len(events(caplog, "store-lost")) == 3
    for number in range(100):
        membership._went(StoreUnavailable(f"reset by {number}"))
    assert len(events(caplog, "store-lost")) == 2 + 8


async def test_a_redis_that_is_too_old_is_refused() -> None:
    about = b"# Server\r\nredis_version:6.0.16\r\nrun_id:x\r\n"
    await _answering(b"$%d\r\n%s\r\n" % (len(about), about) + b"$1\r\nx\r\n" * 20)


async def test_one_that_is_not_there_yet_is_waited_for(
    mortal_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    mortal_redis.kill()
    store = RedisStore(mortal_redis.url.replace("//", "//:secret@"), Arrivals().deliver, MAX_OTHERS, times=QUICK)
    await store.start()
    assert not store.is_available
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "secret" not in caplog.text + str([vars(record) for record in caplog.records])
    await store.close()


async def test_over_tls_its_certificate_has_to_be_trusted(tmp_path: Path) -> None:
    redis_server.needed()
    tls.load_or_create(tmp_path, datetime.now(UTC))
    certificate, key = tmp_path / tls.CERTIFICATE_FILE, tmp_path / tls.KEY_FILE
    port = redis_server.free_port()
    options = ["--tls-cert-file", certificate, "--tls-key-file", key, "--tls-auth-clients", "no"]
    with RedisServer("--tls-port", str(port), *map(str, options)):
        url = f"rediss://127.0.0.1:{port}"
        await _refused(url)
        await _refused(f"{url}?ssl_ca_certs={certificate}")  # of another host
        trusting = f"{url}?ssl_ca_certs={certificate}&ssl_check_hostname=false"
        store = RedisStore(trusting, Arrivals().deliver, MAX_OTHERS)
        await store.start()
        assert store.is_available
        await store.close()


async def _answering(answer: bytes, scheme: str = "redis") -> str:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(answer)
        with suppress(ConnectionError):
            await reader.read()
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(say, "127.0.0.1", 0)
    why = await _refused(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    server.close()
    await server.wait_closed()
    return why


async def _refused(url: str) -> str:
    store = RedisStore(url, Arrivals().deliver, MAX_OTHERS)
    with pytest.raises(UsageError) as refused:
        await store.start()
    assert not store.is_available
    await store.close()
    return str(refused.value)
