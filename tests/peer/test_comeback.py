"""An errand whose sessions are lost."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import (
    ConnectionLost,
    MediatorUnreachable,
    NoPath,
    NotAdmitted,
    PeerDidNotCome,
    PunchwireError,
    Refused,
    TransferFailed,
)
from p2p_peer.cli import comeback
from p2p_peer.cli import errand as errand_module
from p2p_peer.cli.acceptance import Acceptance
from p2p_peer.cli.comeback import do_errand
from p2p_peer.cli.errand import Errand, Wanted
from p2p_peer.cli.memory import Memory
from p2p_peer.events import MessageReceived, PeerDone

from tests.peer.fake_session import LOST, FakeSession
from tests.peer.pair import soon, until
from tests.peer.scene import Said, TypedLines, file_of


class Meetings:
    """What comes of each try to meet."""

    def __init__(self) -> None:
        self.said = Said()
        self.lines = TypedLines(self.said.notices)
        self.sessions: list[FakeSession] = []
        self.tries = 0
        self.errors: list[PunchwireError] = []  # of the tries behind the first
        self.running: asyncio.Task[None] | None = None

    async def meet(self) -> Any:
        self.tries += 1
        if self.tries > 1 and self.errors:
            raise self.errors.pop(0)
        self.sessions.append(FakeSession())
        return self.sessions[-1]

    def begin(self, wanted: Wanted, *, asks: bool = False) -> None:
        def make(session: Any, memory: Memory) -> Errand:
            return Errand(session, wanted, self.said, self.lines if asks else None, memory)

        self.running = asyncio.create_task(do_errand(self.meet, make, self.said))

    async def session(self, count: int = 1) -> FakeSession:
        await until(lambda: len(self.sessions) >= count)
        return self.sessions[count - 1]

    async def sent_in(self, count: int) -> Any:
        """What is sent in a session."""
        session = await self.session(count)
        await until(lambda: bool(session.sendings))
        return session.sendings[0]

    async def end(self) -> None:
        assert self.running is not None
        await soon(self.running)


@pytest.fixture
def meetings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Meetings:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(errand_module, "_QUIET", 0.01)
    monkeypatch.setattr(comeback, "_FIRST_PAUSE", 0.001)
    monkeypatch.setattr(comeback, "_LONGEST_PAUSE", 0.004)
    file_of(tmp_path, "a")
    return Meetings()


async def test_the_sender_stays_until_all_is_sent(meetings: Meetings) -> None:
    Path("photos").mkdir()
    Path("photos/.hidden").touch()
    meetings.begin(Wanted(messages=("one", "two"), paths=("a", "photos")))
    first = await meetings.session()
    await until(lambda: len(first.messages) == 2)
    first.messages[0][1].set_result(None)
    first.lose()
    second = await meetings.session(2)
    await until(lambda: bool(second.messages))
    assert second.acknowledge() == ["two"]
    (await meetings.sent_in(2)).end.set_exception(ConnectionLost("once more"))
    second.lose(ConnectionLost("once more"))
    (await meetings.sent_in(3)).stored()
    await meetings.end()
    assert meetings.sessions[2].messages == []
    assert meetings.said.notices == ["left out, hidden: photos/.hidden"]  # once
    assert meetings.said.losses == [LOST, "once more"]
    assert meetings.said.ends == [""]


async def test_what_is_said_again_has_its_first_time(meetings: Meetings) -> None:
    meetings.begin(Wanted(messages=("one", "one", "two"), paths=("a",)))
    first = await meetings.session()
    await until(lambda: len(first.messages) == 3)
    assert all(at is not None for at in first.sent_at_ms)
    assert len(set(first.sent_at_ms)) == 3, "the same text may be said twice"
    first.messages[0][1].set_result(None)
    first.lose()
    second = await meetings.session(2)
    await until(lambda: len(second.messages) == 2)
    assert second.sent_at_ms == first.sent_at_ms[1:]
    second.acknowledge()
    (await meetings.sent_in(2)).stored()
    await meetings.end()


async def test_what_is_heard_again_is_not_shown_again(meetings: Meetings, tmp_path: Path) -> None:
    meetings.begin(Wanted(receives=True, terms=Acceptance(tmp_path, unasked=True)))
    first = await meetings.session()
    first.happen(MessageReceived(1, 1000, "one"), MessageReceived(2, 1001, "two"), MessageReceived(3, 1001, "two"))
    await until(lambda: len(meetings.said.events) == 3)  # of one session all are shown, whatever they are
    first.lose()
    second = await meetings.session(2)
    again = (MessageReceived(1, 1001, "two"), MessageReceived(2, 1001, "three"), MessageReceived(3, 1002, "two"))
    second.happen(*again)
    await until(lambda: len(meetings.said.events) == 5)
    assert meetings.said.events[3:] == [*again[1:]]
    offered = second.offer()
    await until(lambda: bool(second.accepted))
    second.received(offered, tmp_path / "a.txt")
    await meetings.end()


async def test_the_receiver_stays_and_is_asked_once(meetings: Meetings, tmp_path: Path) -> None:
    meetings.begin(Wanted(receives=True, terms=Acceptance(tmp_path)), asks=True)
    (await meetings.session()).offer()
    meetings.lines.type("y")
    first = await meetings.session()
    await until(lambda: bool(first.accepted))
    first.lose()
    second = await meetings.session(2)
    offered = second.offer()
    await until(lambda: bool(second.accepted))
    second.received(offered, tmp_path / "a.txt")
    await meetings.end()
    assert meetings.lines.asked == 1


async def arrived(meetings: Meetings, folder: Path) -> None:
    """Everything is here in the first session, which is lost before the other side is known to know."""
    meetings.begin(Wanted(receives=True, terms=Acceptance(folder, unasked=True)))
    session = await meetings.session()
    offered = session.offer()
    await until(lambda: bool(session.accepted))
    session.received(offered, folder / "a.txt")
    session.lose()


async def test_the_receiver_stays_until_the_other_side_knows(meetings: Meetings, tmp_path: Path) -> None:
    await arrived(meetings, tmp_path)
    second = await meetings.session(2)
    assert meetings.said.losses == [f"all of it is here, and the other side may not know: {LOST}"]
    offered = second.offer()
    await until(lambda: bool(second.accepted))
    second.received(offered, tmp_path / "a.txt")
    await meetings.end()
    assert meetings.tries == 2


async def test_a_receipt_that_has_arrived_is_enough(meetings: Meetings, tmp_path: Path) -> None:
    meetings.begin(Wanted(receives=True, terms=Acceptance(tmp_path, unasked=True)))
    session = await meetings.session()
    offered = session.offer()
    await until(lambda: bool(session.accepted))
    session.received(offered, tmp_path / "a.txt")
    session.receipts_arrive()
    session.lose()
    await meetings.end()
    assert meetings.tries == 1


@pytest.mark.parametrize("what", ["messages", "files"])
async def test_once_all_is_done_the_session_may_be_lost(meetings: Meetings, what: str) -> None:
    """The other side may have had more to say, which nobody has asked for."""
    meetings.begin(Wanted(messages=("one",)) if what == "messages" else Wanted(paths=("a",)))
    session = await meetings.session()
    if what == "messages":
        await until(lambda: bool(session.messages))
        session.acknowledge()
    else:
        (await meetings.sent_in(1)).stored()
    session.lose()
    await meetings.end()
    assert meetings.tries == 1


@pytest.mark.parametrize("how", ["done", "leaves"])
async def test_who_comes_back_and_offers_nothing_knows(meetings: Meetings, tmp_path: Path, how: str) -> None:
    await arrived(meetings, tmp_path)
    second = await meetings.session(2)
    if how == "done":
        second.happen(PeerDone())
    else:
        second.leave()
    await meetings.end()
    assert meetings.tries == 2


async def test_who_does_not_come_back_believes_what_it_likes(meetings: Meetings, tmp_path: Path) -> None:
    """All is here."""
    meetings.errors = [PeerDidNotCome("it did not come within 3 s")]
    await arrived(meetings, tmp_path)
    await meetings.end()


async def test_files_that_failed_count_once(meetings: Meetings, tmp_path: Path) -> None:
    meetings.begin(Wanted(receives=True, terms=Acceptance(tmp_path, unasked=True)))
    for number, failed in ((1, 2), (2, 1)):
        session = await meetings.session(number)
        offered = session.offer(("a", 1), ("b", 1), ("c", 1))
        await until(lambda session=session: bool(session.accepted))  # type: ignore[misc]
        session.received(offered, tmp_path, failed=failed)
        if number == 1:
            session.lose()
    with pytest.raises(TransferFailed, match=r"^1 file was not received"):
        await meetings.end()


@pytest.mark.parametrize("how", ["farewell", "refused", "messages only"])
async def test_what_is_over_is_over(meetings: Meetings, how: str) -> None:
    meetings.begin(Wanted(messages=("one",)) if how == "messages only" else Wanted(paths=("a",)))
    session = await meetings.session()
    if how == "messages only":
        await until(lambda: bool(session.messages))
        session.lose()
    elif how == "farewell":
        await meetings.sent_in(1)
        session.leave("interrupted")
    else:
        (await meetings.sent_in(1)).end.set_exception(Refused("no"))
    expected = {"farewell": TransferFailed, "refused": Refused, "messages only": ConnectionLost}[how]
    with pytest.raises(expected):
        await meetings.end()
    assert meetings.tries == 1
    assert meetings.said.losses == []


async def test_files_that_failed_are_told_at_the_end(meetings: Meetings) -> None:
    meetings.begin(Wanted(paths=("a",)))
    (await meetings.sent_in(1)).stored(failed=1)
    with pytest.raises(TransferFailed, match="1 file was not sent"):
        await meetings.end()
    assert meetings.said.ends == [""]


async def test_meeting_again_is_tried_as_long_as_it_takes(meetings: Meetings, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    meetings.begin(Wanted(paths=("a",)))
    await meetings.sent_in(1)
    meetings.errors = [MediatorUnreachable("no mediator")] * 3 + [NoPath("no path")]
    monkeypatch.setattr(comeback, "asyncio", _Asyncio(sleep))
    meetings.sessions[0].lose()
    (await meetings.sent_in(2)).stored()
    await meetings.end()
    assert pauses == [0.001, 0.002, 0.004, 0.004]
    assert meetings.said.notices[0] == "no mediator; trying again in 0.001 s"
    assert meetings.said.notices[3] == "no path; trying again in 0.004 s"


class _Asyncio:
    """The module, with another `sleep`."""

    def __init__(self, sleep: Callable[[float], Any]) -> None:
        self.sleep = sleep


@pytest.mark.parametrize("error", [NotAdmitted("no"), PeerDidNotCome("it did not come within 3 s")])
async def test_what_ends_the_wait(meetings: Meetings, error: PunchwireError) -> None:
    meetings.begin(Wanted(paths=("a",)))
    await meetings.sent_in(1)
    meetings.errors = [error]
    meetings.sessions[0].lose()
    with pytest.raises(PunchwireError) as caught:
        await meetings.end()
    if isinstance(error, PeerDidNotCome):
        assert type(caught.value) is TransferFailed
        assert str(caught.value) == "not everything was sent or received: it did not come within 3 s"
    else:
        assert caught.value is error


async def test_before_the_two_have_met_nothing_is_tried_again(meetings: Meetings) -> None:
    async def meet() -> Any:
        raise MediatorUnreachable("no mediator")

    with pytest.raises(MediatorUnreachable):
        await soon(do_errand(meet, lambda *_: pytest.fail("no session"), meetings.said))
