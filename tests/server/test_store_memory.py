"""The in-process store keeps the contract of stores."""

import pytest
from p2p_server.stores.memory import MemoryStore

from tests.server.store_contract import MAX_OTHERS, Arrivals, StoreContract, World


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def world(self) -> World:
        arrivals = Arrivals()
        return World([(MemoryStore(arrivals.deliver, MAX_OTHERS), arrivals)])
