import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from p2p_core.proof import Role
from p2p_peer.cli import errand as errand_module

from tests.peer.other_side import OtherSide
from tests.peer.pair import Clock, Pair, Peer, channels, punched_paths, session_on, soon
from tests.peer.scene import Scene


@pytest.fixture(scope="session", autouse=True)
def quick_collection() -> Iterator[None]:
    """Leave all that is there before the first test out of each collection after it: a tenth of the time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every thread of ours has ended, and the collector warns of what was left open: warnings are errors here."""
    yield
    gc.collect()
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith(("read ", "write "))]
    assert not left, f"threads left: {left}"


@pytest.fixture(autouse=True)
async def no_tasks_left() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    before |= {asyncio.current_task()}
    for _ in range(100):  # turns of the loop for those that are just ending, not a time: a busy machine may stand still
        if not (left := asyncio.all_tasks() - before):
            break
        await asyncio.sleep(0.001)
    assert not left, f"tasks left: {left}"


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The event loop's clock, which can be put forward."""
    clock = Clock(asyncio.get_running_loop())
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock)
    return clock


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Two live sessions over a punched connection. At the end nothing of them may be left."""
    made = Pair.on(await channels(await punched_paths()), tmp_path)
    yield made
    await made.leave()


@pytest.fixture(params=[Role.INITIATOR, Role.RESPONDER], ids=["initiator", "responder"])
async def honest(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Peer, OtherSide]]:
    """A live session, in either role, and the other side's end of its channel."""
    role: Role = request.param
    made = dict(zip((Role.INITIATOR, Role.RESPONDER), await channels(), strict=True))
    peer, other = Peer(session_on(made[role], role)), OtherSide(made[role.other], role.other)
    yield peer, other
    other.pump.abandon()
    await soon(peer.session.abort("the test is over"))
    await peer.end()


@pytest.fixture
async def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    """A session for a mode of the command, which does what a test says; this is in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(errand_module, "_QUIET", 0.01)
    made = Scene()
    yield made
    await made.stop()
