"""What an errand does with a session: on a real one, with the other side moved by hand."""

from pathlib import Path

import pytest
from p2p_core.errors import ConnectionLost, Refused, TransferFailed
from p2p_core.wire.frames import (
    Cancel,
    Close,
    Done,
    FileAnswer,
    FileEnd,
    FileOffer,
    MessageAck,
    Ping,
    Pong,
    TextMessage,
)
from p2p_peer.cli import errand as errand_module
from p2p_peer.cli.errand import Wanted
from p2p_peer.events import FileReceived, MessageReceived

from tests.peer.other_side import block
from tests.peer.pair import until
from tests.peer.scene import Scene


async def test_errand_messages(scene: Scene) -> None:
    scene.begin_errand(Wanted(messages=("one", "two")))
    assert await scene.texts(2) == ["one", "two"]
    await scene.farewell()
    await scene.end()


async def test_errand_messages_are_said_before_the_farewell_is_heard(scene: Scene) -> None:
    """The other side may have done its own errand before ours has begun."""
    scene.other.send(Close())
    scene.begin_errand(Wanted(messages=("one",)))
    await until(lambda: scene.session._driver._other_leaves)
    assert await scene.texts(1) == ["one"]
    await scene.leave_after_close()
    await scene.end()


async def test_errand_files(scene: Scene, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    scene.begin_errand(Wanted(files=(tmp_path / "a", tmp_path / "b")))
    for count, name in enumerate((b"a", b"b"), start=1):
        offer = await scene.other.wait_for(FileOffer, count)
        scene.other.send(FileAnswer(offer.transfer, accepted=True))
        await scene.other.wait_for(FileEnd, count)
        scene.other.send(scene.other.receipt_for(offer, name))
    await scene.farewell()
    await scene.end()


async def test_errand_refused(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    scene.begin_errand(Wanted(files=(tmp_path / "a",)))
    offer = await scene.other.wait_for(FileOffer)
    scene.other.send(FileAnswer(offer.transfer, accepted=False, reason="no"))
    with pytest.raises(Refused):
        await scene.end()


@pytest.mark.parametrize("how", ["cancelled", "lost", "leaving", "left"])
async def test_errand_file_that_does_not_arrive(scene: Scene, tmp_path: Path, how: str) -> None:
    (tmp_path / "a").write_bytes(b"a")
    scene.begin_errand(Wanted(messages=("first",) if how == "leaving" else (), files=(tmp_path / "a",)))
    if how == "leaving":
        await scene.other.wait_for(TextMessage)
        scene.other.send(Close())
        await until(lambda: scene.session._driver._other_leaves)
        scene.other.send(MessageAck(1))
    else:
        offer = await scene.other.wait_for(FileOffer)
        if how == "cancelled":
            scene.other.send(Cancel(offer.transfer, "disk full"))
        elif how == "lost":
            scene.other.pump.abandon()
        else:
            scene.other.send(Close())
            scene.other.send(FileAnswer(offer.transfer, accepted=False, reason="the other side is leaving"))
    with pytest.raises(Refused if how == "left" else TransferFailed):
        await scene.end()


async def test_errand_message_that_is_not_acknowledged(scene: Scene) -> None:
    scene.begin_errand(Wanted(messages=("one",)))
    await scene.other.wait_for(TextMessage)
    scene.other.pump.abandon()
    with pytest.raises(ConnectionLost):
        await scene.end()


async def test_errand_receives_into_a_folder(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    scene.begin_errand(Wanted(folder=tmp_path / "inbox", accepts=True))
    offer = scene.offer()
    assert (await scene.answer()).accepted
    await scene.send_whole(offer, b"hello")
    await scene.farewell()
    await scene.end()
    assert (tmp_path / "inbox" / "a.txt").read_bytes() == b"hello"
    assert any(isinstance(event, FileReceived) for event in scene.said.events)


async def test_errand_does_not_accept_without_being_told(scene: Scene, tmp_path: Path) -> None:
    scene.begin_errand(Wanted(folder=tmp_path))
    scene.offer()
    assert not (await scene.answer()).accepted
    with pytest.raises(Refused, match="there is no terminal to ask at"):
        await scene.end()


@pytest.mark.parametrize(("answers", "taken"), [(["y"], True), (["?", "yes"], True), (["n"], False), ([None], False)])
async def test_errand_asks_at_a_terminal(scene: Scene, tmp_path: Path, answers: list[str | None], taken: bool) -> None:
    scene.begin_errand(Wanted(folder=tmp_path), asks=True)
    offer = scene.offer()
    await scene.notice("accept a.txt? [y/n]")
    scene.lines.type(*answers)
    assert (await scene.answer()).accepted is taken
    if taken:
        await scene.send_whole(offer, b"hello")
        await scene.farewell()
        await scene.end()
    else:
        with pytest.raises(Refused, match="you did not accept the file"):
            await scene.end()


async def test_errand_receives_one_file(scene: Scene, tmp_path: Path) -> None:
    scene.begin_errand(Wanted(folder=tmp_path, accepts=True))
    first, second = scene.offer(name="a"), scene.offer(name="b")
    answers = [await scene.answer(), await scene.answer(2)]
    assert [answer.accepted for answer in answers] == [True, False]
    assert answers[1].transfer == second.transfer
    assert answers[1].reason == "only one file was asked for"
    await scene.send_whole(first, b"hello")
    await scene.farewell()
    await scene.end()


async def test_errand_lets_the_other_side_finish(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it is done, and leaves when the other side is done too, or says nothing for a while."""
    monkeypatch.setattr(errand_module, "_QUIET", 3600)
    scene.begin_errand(Wanted(messages=("one",)))
    await scene.texts(1)
    await scene.other.wait_for(Done)
    scene.other.send(scene.other.message(1, "an answer"), Ping(1))
    await scene.other.wait_for(Pong)
    assert not scene.running.done()
    scene.other.send(Done())
    await scene.farewell()
    await scene.end()
    assert any(isinstance(event, MessageReceived) for event in scene.said.events)


async def test_errand_that_is_done_does_not_wait_for_one_who_is_gone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errand_module, "_QUIET", 3600)
    scene.begin_errand(Wanted(messages=("one",)))
    await scene.texts(1)
    await scene.other.wait_for(Done)
    scene.other.pump.abandon()
    with pytest.raises(ConnectionLost):
        await scene.end()


@pytest.mark.parametrize("how", ["left before", "left meanwhile", "lost meanwhile", "corrupt", "unsafe"])
async def test_errand_does_not_receive(scene: Scene, tmp_path: Path, how: str) -> None:
    scene.begin_errand(Wanted(folder=tmp_path, accepts=True))
    if how == "left before":
        await scene.leave()
    else:
        offer = scene.offer(name="../up" if how == "unsafe" else "a.txt")
        await scene.answer()
        if how == "left meanwhile":
            await scene.leave()
        elif how == "lost meanwhile":
            scene.other.pump.abandon()
        elif how == "corrupt":
            scene.other.send(block(b"hello", 0, offer.transfer, digest=bytes(32)))
    with pytest.raises(TransferFailed):
        await scene.end()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("yes", [True, False])
async def test_errand_of_another_kind_is_offered_a_file(scene: Scene, tmp_path: Path, yes: bool) -> None:
    scene.begin_errand(Wanted(messages=("one",), accepts=yes))
    offer = scene.offer()
    assert (await scene.answer()).accepted is yes
    if yes:
        await scene.send_whole(offer, b"hello")
        assert (tmp_path / "a.txt").exists()
    await scene.texts(1)
    await scene.farewell()
    await scene.end()
