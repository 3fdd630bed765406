"""The Redis store keeps the contract of stores, on one instance and across two."""

from collections.abc import AsyncIterator

import pytest
from p2p_server.stores.redis import RedisStore

from tests.redis_server import RedisServer
from tests.server.store_contract import MAX_OTHERS, Arrivals, StoreContract, World


class _Contract(StoreContract):
    instances: int

    @pytest.fixture
    async def world(self, redis: RedisServer) -> AsyncIterator[World]:
        stores = []
        for _ in range(self.instances):
            arrivals = Arrivals()
            store = RedisStore(redis.url, arrivals.deliver, MAX_OTHERS)
            await store.start()
            stores.append((store, arrivals))
        yield World(list(stores))
        for store, _ in stores:
            await store.close()


class TestOneInstance(_Contract):
    instances = 1


class TestTwoInstances(_Contract):
    instances = 2
