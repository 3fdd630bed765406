"""What a pipe does with a session."""

import asyncio
from pathlib import Path

import pytest
from p2p_core import limits
from p2p_core.errors import ConnectionLost, UsageError
from p2p_peer.cli import pipe as pipe_module
from p2p_peer.cli.acceptance import Acceptance
from p2p_peer.events import PeerDone

from tests.peer.pair import until
from tests.peer.scene import Scene


async def test_pipe_lines_are_messages_whatever_they_say(scene: Scene) -> None:
    running = scene.begin_pipe()
    scene.lines.type("hello", "", "/quit", "/send x", None)
    assert await scene.texts(4) == ["hello", "", "/quit", "/send x"]
    await until(lambda: scene.session.is_finished)
    assert not running.done()  # until the other side is done too
    scene.session.happen(PeerDone())
    await scene.end()
    assert scene.said.notices == ["the other side has nothing more to send"]


async def test_pipe_waits_for_the_acknowledgements(scene: Scene) -> None:
    running = scene.begin_pipe()
    scene.lines.type("hello", None)
    await until(lambda: bool(scene.session.messages))
    scene.session.happen(PeerDone())
    await scene.heard()
    assert not scene.session.is_finished
    assert not running.done()
    scene.session.acknowledge()
    await scene.end()


async def test_pipe_does_not_flood_the_other_side(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe_module, "_MAX_UNACKNOWLEDGED", 3)
    scene.begin_pipe()
    scene.lines.type(*map(str, range(10)), None)
    await until(lambda: len(scene.session.messages) == 4)
    for _ in range(50):
        await asyncio.sleep(0)
    assert scene.lines.asked == 4
    for count in range(4, 11):
        await scene.texts(count)
    await until(lambda: scene.session.is_finished)


async def test_pipe_ends_when_the_other_side_leaves(scene: Scene) -> None:
    scene.begin_pipe()
    scene.lines.type("hello", None)
    await scene.texts(1)
    scene.session.leave()
    await scene.end()
    assert scene.said.ends == [""]


async def test_pipe_whose_input_has_not_ended_when_the_other_side_leaves(scene: Scene) -> None:
    """What had come was said and acknowledged; but what may still come goes nowhere, and a script has to know."""
    scene.begin_pipe()
    scene.lines.type("hello")
    await scene.texts(1)
    scene.session.leave()
    with pytest.raises(ConnectionLost, match="every line"):
        await scene.end()


async def test_pipe_that_was_cut_off_says_so(scene: Scene) -> None:
    """What came may be a part only, and is not to be taken for the whole."""
    scene.begin_pipe()
    scene.session.leave("interrupted")
    with pytest.raises(ConnectionLost, match="interrupted"):
        await scene.end()


async def test_pipe_says_so_when_a_line_comes_too_late(scene: Scene) -> None:
    """The other side waits for our last acknowledgement when the line comes: it cannot be sent any more."""
    scene.begin_pipe()
    scene.lines.type("hello")
    await until(lambda: bool(scene.session.messages))
    scene.session.begin_to_leave()
    scene.lines.type("too late", None)
    with pytest.raises(ConnectionLost, match="every line"):
        await scene.end()


async def test_pipe_says_so_when_lines_were_left_unread(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for an acknowledgement when the session ends, and has not even taken the next line."""
    monkeypatch.setattr(pipe_module, "_MAX_UNACKNOWLEDGED", 0)
    scene.begin_pipe()
    scene.lines.type("one", "two")
    await scene.texts(1)
    scene.session.leave()
    with pytest.raises(ConnectionLost, match="every line"):
        await scene.end()


async def test_pipe_says_that_the_connection_was_lost(scene: Scene) -> None:
    scene.begin_pipe()
    scene.lines.type("hello", None)
    await until(lambda: bool(scene.session.messages))
    scene.session.lose()
    with pytest.raises(ConnectionLost):
        await scene.end()


async def test_pipe_with_a_line_that_is_too_long(scene: Scene) -> None:
    scene.begin_pipe()
    scene.lines.type("hello", "x" * (limits.MAX_TEXT_BYTES + 1))
    with pytest.raises(UsageError, match="a line of standard input cannot be sent"):
        await scene.end()


async def test_pipe_takes_files_only_with_yes(scene: Scene) -> None:
    scene.begin_pipe()
    offered = scene.session.offer()
    await scene.answers()
    assert scene.session.refused == [(offered.transfer, "nobody is there to be asked")]
    await scene.notice("refused a.txt (5 B): nobody is there to be asked; --yes accepts without asking")


async def test_pipe_with_yes(scene: Scene, tmp_path: Path) -> None:
    scene.begin_pipe(Acceptance(tmp_path, unasked=True, max_size=5))
    small, large = scene.session.offer(), scene.session.offer(("b.txt", 6))
    await scene.answers(2)
    assert [(accepted.transfer, accepted.place) for accepted in scene.session.accepted] == [(small.transfer, tmp_path)]
    assert scene.session.refused == [(large.transfer, "it is 6 B, and at most 5 B are taken here")]
    await scene.notice("refused b.txt (6 B): it is 6 B, and at most 5 B are taken here")
