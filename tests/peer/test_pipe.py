"""What a pipe does with a session: on a real one, with the other side moved by hand."""

import asyncio
from pathlib import Path

import pytest
from p2p_core import limits
from p2p_core.errors import ConnectionLost, UsageError
from p2p_core.wire.frames import Close, Done, MessageAck, Ping, Pong, TextMessage
from p2p_peer.cli import pipe as pipe_module

from tests.peer.pair import until
from tests.peer.scene import Scene


async def test_pipe_lines_are_messages_whatever_they_say(scene: Scene) -> None:
    scene.begin_pipe()
    scene.lines.type("hello", "", "/quit", "/send x", None)
    assert await scene.texts(4) == ["hello", "", "/quit", "/send x"]
    await scene.other.wait_for(Done)
    assert not scene.running.done()  # until the other side is done too
    scene.other.send(Done())
    await scene.farewell()
    await scene.end()
    assert scene.said.notices == ["the other side has nothing more to send"]


async def test_pipe_waits_for_the_acknowledgements(scene: Scene) -> None:
    scene.begin_pipe()
    scene.lines.type("hello", None)
    await scene.other.wait_for(TextMessage)
    scene.other.send(Done(), Ping(1))
    await scene.other.wait_for(Pong)
    assert not [frame for frame in scene.other.came if isinstance(frame, Done | Close)]
    scene.other.send(MessageAck(1))
    await scene.farewell()
    await scene.end()


async def test_pipe_does_not_flood_the_other_side(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe_module, "_MAX_UNACKNOWLEDGED", 3)
    scene.begin_pipe()
    scene.lines.type(*map(str, range(10)), None)
    await scene.other.wait_for(TextMessage, 4)
    for _ in range(50):
        await asyncio.sleep(0)
    assert scene.lines.asked == 4
    for count in range(4, 11):
        await scene.texts(count)
    await scene.other.wait_for(Done)


async def test_pipe_ends_when_the_other_side_leaves(scene: Scene) -> None:
    scene.begin_pipe()
    scene.lines.type("hello", None)
    await scene.texts(1)
    await scene.leave()
    await scene.end()
    assert scene.said.ends == [""]


async def test_pipe_whose_input_has_not_ended_when_the_other_side_leaves(scene: Scene) -> None:
    """What had come was said and acknowledged; but what may still come goes nowhere, and a script has to know."""
    scene.begin_pipe()
    scene.lines.type("hello")
    await scene.texts(1)
    scene.other.send(Close())
    with pytest.raises(ConnectionLost, match="every line"):
        await scene.end()


async def test_pipe_that_was_cut_off_says_so(scene: Scene) -> None:
    """What came may be a part only, and is not to be taken for the whole."""
    scene.begin_pipe()
    await scene.leave("interrupted")
    with pytest.raises(ConnectionLost, match="interrupted"):
        await scene.end()


async def test_pipe_says_so_when_a_line_comes_too_late(scene: Scene) -> None:
    """The other side waits for our last acknowledgement when the line comes: it cannot be sent any more."""
    scene.begin_pipe()
    scene.lines.type("hello")
    await scene.other.wait_for(TextMessage)
    scene.other.send(Close())
    await until(lambda: scene.session._driver._other_leaves)
    scene.lines.type("too late", None)
    with pytest.raises(ConnectionLost, match="every line"):
        await scene.end()


async def test_pipe_says_so_when_lines_were_left_unread(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for an acknowledgement when the session ends, and has not even taken the next line."""
    monkeypatch.setattr(pipe_module, "_MAX_UNACKNOWLEDGED", 0)
    scene.begin_pipe()
    scene.lines.type("one", "two")
    await scene.other.wait_for(TextMessage)
    scene.other.send(MessageAck(1), Close())
    with pytest.raises(ConnectionLost, match="every line"):
        await scene.end()


async def test_pipe_says_that_the_connection_was_lost(scene: Scene) -> None:
    scene.begin_pipe()
    scene.lines.type("hello", None)
    await scene.other.wait_for(TextMessage)
    scene.other.pump.abandon()
    with pytest.raises(ConnectionLost):
        await scene.end()


async def test_pipe_with_a_line_that_is_too_long(scene: Scene) -> None:
    scene.begin_pipe()
    scene.lines.type("hello", "x" * (limits.MAX_TEXT_BYTES + 1))
    with pytest.raises(UsageError, match="a line of standard input cannot be sent"):
        await scene.end()


async def test_pipe_takes_files_only_with_yes(scene: Scene) -> None:
    scene.begin_pipe()
    scene.offer()
    answer = await scene.answer()
    assert (answer.accepted, answer.reason) == (False, "nobody is there to be asked")
    await scene.notice("refused a.txt")


async def test_pipe_with_yes(scene: Scene, tmp_path: Path) -> None:
    scene.begin_pipe(accepts=True)
    offer = scene.offer()
    assert (await scene.answer()).accepted
    await scene.send_whole(offer, b"hello")
    assert (tmp_path / "a.txt").read_bytes() == b"hello"
