"""What an errand does with a session."""

import asyncio
import io
from pathlib import Path

import pytest
from p2p_core.errors import ConnectionLost, PunchwireError, Refused, RemoteProtocolError, TransferFailed
from p2p_peer.cli import errand as errand_module
from p2p_peer.cli.acceptance import Acceptance
from p2p_peer.cli.errand import Errand, Wanted
from p2p_peer.cli.memory import Memory
from p2p_peer.events import MessageReceived, PeerDone, TransferBroken, TransferReceived
from p2p_peer.transfer.target import Overwrite
from p2p_peer.transfer.tree import SendOptions

from tests.peer.fake_session import LOST
from tests.peer.pair import soon, until
from tests.peer.scene import Scene, file_of

PHOTOS = ("photos/", ("photos/a.jpg", 5), ("photos/b.jpg", 6), "photos/raw/", ("photos/raw/c.raw", 7))


def taking(folder: Path, **terms: object) -> Wanted:
    """To receive into `folder`, without asking."""
    return Wanted(receives=True, terms=Acceptance(folder, unasked=True, **terms))  # type: ignore[arg-type]


# Messages.


async def test_errand_messages(scene: Scene) -> None:
    scene.begin_errand(Wanted(messages=("one", "two")))
    assert await scene.texts(2) == ["one", "two"]
    await scene.end()
    assert scene.session.is_finished
    assert scene.said.ends == [""]


async def test_errand_messages_are_said_before_the_farewell_is_heard(scene: Scene) -> None:
    """The other side may have done its own errand before ours has begun."""
    scene.begin_errand(Wanted(messages=("one",)))
    await until(lambda: bool(scene.session.messages))
    scene.session.begin_to_leave()
    await scene.heard()
    assert await scene.texts(1) == ["one"]
    scene.session.leave()
    await scene.end()


async def test_errand_message_that_is_not_acknowledged(scene: Scene) -> None:
    memory = Memory()
    scene.begin_errand(Wanted(messages=("one", "two")), memory=memory)
    await until(lambda: bool(scene.session.messages))
    scene.session.messages[0][1].set_result(None)
    scene.session.lose()
    with pytest.raises(ConnectionLost):
        await scene.end()
    assert memory.delivered == 1


# Sending.


async def test_errand_files_are_one_transfer(scene: Scene, tmp_path: Path) -> None:
    paths = (file_of(tmp_path, "a"), file_of(tmp_path, "b"))
    options = SendOptions(exclude=("*.tmp",))
    scene.begin_errand(Wanted(paths=paths, options=options))
    sending = await scene.sending()
    assert (sending.paths, sending.options) == (paths, options)
    sending.stored()
    await scene.end()
    assert len(scene.session.sendings) == 1


async def test_errand_says_what_is_left_out(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for name in (".hidden", "a.tmp", "b.tmp", "c"):
        file_of(tmp_path / "photos", name)
    scene.begin_errand(Wanted(paths=("photos",), options=SendOptions(exclude=("*.tmp",))))
    (await scene.sending()).stored()
    await scene.end()
    assert scene.said.notices == [
        "left out, hidden: photos/.hidden",
        "left out, excluded: photos/a.tmp, photos/b.tmp",
    ]


async def test_errand_refused(scene: Scene, tmp_path: Path) -> None:
    scene.begin_errand(Wanted(paths=(file_of(tmp_path, "a"),)))
    (await scene.sending()).end.set_exception(Refused("no"))
    with pytest.raises(Refused):
        await scene.end()


@pytest.mark.parametrize("how", ["cancelled", "lost", "leaving", "left"])
async def test_errand_file_that_does_not_arrive(scene: Scene, tmp_path: Path, how: str) -> None:
    file_of(tmp_path, "a")
    scene.begin_errand(Wanted(messages=("first",) if how == "leaving" else (), paths=("a",)))
    if how == "leaving":
        await until(lambda: bool(scene.session.messages))
        scene.session.begin_to_leave()
        await scene.heard()
        scene.session.acknowledge()
    else:
        sending = await scene.sending()
        if how == "cancelled":
            sending.end.set_exception(TransferFailed("the other side gave up: disk full"))
        elif how == "lost":
            scene.session.lose()
        else:
            scene.session.leave("interrupted")
    with pytest.raises(TransferFailed) as caught:
        await scene.end()
    assert str(caught.value).startswith("the other side gave up" if how == "cancelled" else "not everything was sent: ")
    assert "go on where it stopped" in caught.value.advice


async def test_errand_stream_that_does_not_arrive(scene: Scene) -> None:
    scene.begin_errand(Wanted(paths=("-",)))
    await scene.sending()
    scene.session.lose()
    with pytest.raises(TransferFailed) as caught:
        await scene.end()
    assert caught.value.advice == "Start both sides again; a stream can only be sent from its beginning."


async def test_errand_whose_files_fail_goes_on_to_its_end(scene: Scene, tmp_path: Path) -> None:
    file_of(tmp_path, "a")
    memory = Memory()
    wanted = Wanted(paths=("a",), receives=True, terms=Acceptance(tmp_path, unasked=True))
    scene.begin_errand(wanted, memory=memory)
    (await scene.sending()).stored(failed=1)
    offered = scene.session.offer(*PHOTOS)
    await scene.answers()
    scene.session.received(offered, tmp_path / "photos", failed=2)
    await scene.end()
    assert scene.session.abort_reason is None  # the other side has nothing to complain about
    with pytest.raises(TransferFailed, match=r"^1 file was not sent, 2 files were not received: see above$"):
        memory.check_whole()
    assert memory.has_some


async def test_errand_of_which_no_file_arrives(scene: Scene, tmp_path: Path) -> None:
    file_of(tmp_path, "a")
    memory = Memory()
    scene.begin_errand(Wanted(paths=("a",)), memory=memory)
    (await scene.sending()).stored(failed=1)
    await scene.end()
    with pytest.raises(TransferFailed, match=r"^1 file was not sent: see above$") as caught:
        memory.check_whole()
    assert caught.value.advice == "Mend what kept it from arriving, and send it again."


# Receiving.


async def test_errand_receives_into_a_folder(scene: Scene, tmp_path: Path) -> None:
    scene.begin_errand(taking(tmp_path, overwrite=Overwrite.ALWAYS, in_place=True))
    offered = scene.session.offer(*PHOTOS)
    await scene.answers()
    accepted = scene.session.accepted[0]
    assert (accepted.transfer, accepted.place, accepted.only) == (offered.transfer, tmp_path, None)
    assert (accepted.overwrite, accepted.in_place) == (Overwrite.ALWAYS, True)
    scene.session.received(offered, tmp_path / "photos")
    await scene.end()
    assert any(isinstance(event, TransferReceived) for event in scene.said.events)


async def test_errand_does_not_accept_without_being_told(scene: Scene, tmp_path: Path) -> None:
    scene.begin_errand(Wanted(receives=True, terms=Acceptance(tmp_path)))
    offered = scene.session.offer()
    with pytest.raises(Refused, match="there is no terminal to ask at"):
        await scene.end()
    assert scene.session.refused == [(offered.transfer, "nobody is there to be asked")]


@pytest.mark.parametrize(
    ("entries", "why"),
    [
        ((("a.txt", 6),), "it is 6 B, and at most 5 B are taken here"),
        (("|",), "at most 5 B are taken here, and nobody knows how much a stream will be"),
    ],
)
async def test_errand_does_not_accept_more_than_it_may(
    scene: Scene, tmp_path: Path, entries: tuple[str, ...], why: str
) -> None:
    scene.begin_errand(taking(tmp_path, max_size=5))
    offered = scene.session.offer(*entries)
    with pytest.raises(Refused, match=why):
        await scene.end()
    assert scene.session.refused == [(offered.transfer, why)]
    await scene.notice(why)


@pytest.mark.parametrize(
    ("answers", "taken"), [(["y"], True), (["?", " YES "], True), (["n"], False), ([None], False), (["1", "n"], False)]
)
async def test_errand_asks_at_a_terminal(scene: Scene, tmp_path: Path, answers: list[str | None], taken: bool) -> None:
    scene.begin_errand(Wanted(receives=True, terms=Acceptance(tmp_path)), asks=True)
    offered = scene.session.offer()
    await scene.notice("accept a.txt (5 B)? [y/n]")
    scene.lines.type(*answers)
    await scene.answers()
    assert bool(scene.session.accepted) is taken
    assert scene.said.notices == ["accept a.txt (5 B)? [y/n]"] * len(answers)
    if taken:
        scene.session.received(offered, tmp_path / "a.txt")
        await scene.end()
    else:
        with pytest.raises(Refused, match="you did not accept the file"):
            await scene.end()


@pytest.mark.parametrize(
    ("answer", "only"), [("y", None), ("2", (2,)), ("1,3", (1, 3)), ("2-3 1", (1, 2, 3)), ("3-1\n0\n4\n1-x\n2", (2,))]
)
async def test_errand_asks_which(scene: Scene, tmp_path: Path, answer: str, only: tuple[int, ...] | None) -> None:
    scene.begin_errand(Wanted(receives=True, terms=Acceptance(tmp_path)), asks=True)
    scene.session.offer(*PHOTOS)
    await scene.notice("accept photos/ (3 files, 18 B)? [y/n, or numbers such as 1,3-5 for some]")
    scene.lines.type(*answer.split("\n"))
    await scene.answers()
    assert scene.session.accepted[0].only == only


@pytest.mark.parametrize(
    ("answer", "overwrite"), [("r", Overwrite.ALWAYS), ("k", Overwrite.NEVER), ("n", Overwrite.RENAME)]
)
@pytest.mark.parametrize("unasked", [False, True])
async def test_errand_asks_what_becomes_of_what_is_there(
    scene: Scene, tmp_path: Path, answer: str, overwrite: Overwrite, unasked: bool
) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.jpg", "b.jpg"):
        file_of(tmp_path / "photos", name)
    terms = Acceptance(tmp_path, unasked=unasked, overwrite=None)
    scene.begin_errand(Wanted(receives=True, terms=terms), asks=True)
    scene.session.offer(*PHOTOS)
    if not unasked:
        scene.lines.type("y")
    await scene.notice("3 of these exist: replace them, keep them, or give new names? [r/k/n]")
    scene.lines.type("?", answer)
    await scene.answers()
    assert scene.session.accepted[0].overwrite is overwrite


async def test_errand_does_not_ask_where_nothing_is_there(scene: Scene, tmp_path: Path) -> None:
    file_of(tmp_path, "b")
    scene.begin_errand(Wanted(receives=True, terms=Acceptance(tmp_path, overwrite=None)), asks=True)
    scene.session.offer(("a", 1), ("b", 1))
    scene.lines.type("1")  # the other one is there
    await scene.answers()
    assert scene.session.accepted[0].overwrite is Overwrite.RENAME
    assert len(scene.said.notices) == 1


async def test_errand_whose_user_goes_while_it_asks(scene: Scene, tmp_path: Path) -> None:
    file_of(tmp_path, "a")
    scene.begin_errand(Wanted(receives=True, terms=Acceptance(tmp_path, overwrite=None)), asks=True)
    scene.session.offer(("a", 1))
    scene.lines.type("y", None)
    with pytest.raises(Refused, match="you did not accept"):
        await scene.end()
    assert scene.session.accepted == []


async def test_errand_receives_one_transfer(scene: Scene, tmp_path: Path) -> None:
    scene.begin_errand(taking(tmp_path))
    first, second = scene.session.offer(("a", 1)), scene.session.offer(("b", 1))
    await scene.answers(2)
    assert [accepted.transfer for accepted in scene.session.accepted] == [first.transfer]
    assert scene.session.refused == [(second.transfer, "only one transfer was asked for")]
    scene.session.received(first, tmp_path / "a")
    await scene.end()


async def test_errand_to_standard_output(scene: Scene) -> None:
    output = io.BytesIO()
    scene.begin_errand(Wanted(receives=True, terms=Acceptance(output, unasked=True)))  # type: ignore[arg-type]
    scene.session.offer("|")
    await scene.answers()
    assert scene.session.accepted[0].place is output


@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("entries", [("photos/",), ("a", "b"), PHOTOS])
async def test_errand_to_standard_output_takes_one_file(scene: Scene, entries: tuple[str, ...], asks: bool) -> None:
    terms = Acceptance(io.BytesIO(), unasked=not asks)  # type: ignore[arg-type]
    scene.begin_errand(Wanted(receives=True, terms=terms), asks=asks)
    scene.session.offer(*entries)
    with pytest.raises(Refused, match="one file or stream is wanted here"):
        await scene.end()
    assert scene.session.accepted == []


@pytest.mark.parametrize("how", ["left before", "left meanwhile", "lost before", "lost meanwhile", "corrupt"])
async def test_errand_does_not_receive(scene: Scene, tmp_path: Path, how: str) -> None:
    scene.begin_errand(taking(tmp_path))
    if how == "left before":
        scene.session.leave()
    elif how == "lost before":
        scene.session.lose()
    else:
        offered = scene.session.offer()
        await scene.answers()
        if how == "left meanwhile":
            scene.session.leave()
        elif how == "lost meanwhile":
            scene.session.lose()
        elif how == "corrupt":
            scene.session.withdraw(offered, TransferFailed("it is corrupt"))
    with pytest.raises(TransferFailed) as caught:
        await scene.end()
    begin = {"before": "nothing came: ", "meanwhile": "not everything was received: ", "corrupt": "it is corrupt"}
    assert str(caught.value).startswith(begin[how.rpartition(" ")[2]])


@pytest.mark.parametrize("yes", [True, False])
async def test_errand_of_another_kind_is_offered_a_file(scene: Scene, yes: bool) -> None:
    scene.begin_errand(Wanted(messages=("one",), terms=Acceptance(unasked=yes)))
    offered = scene.session.offer()
    await scene.answers()
    assert bool(scene.session.accepted) is yes
    if yes:
        assert scene.session.accepted[0].place == Path()
        scene.session.received(offered, Path("a.txt"))
    else:
        assert scene.session.refused == [(offered.transfer, "no file was asked for")]
    await scene.texts(1)
    await scene.end()


async def test_errand_answers_too_late(scene: Scene, tmp_path: Path) -> None:
    """The offer was withdrawn while somebody thought about it."""
    scene.begin_errand(Wanted(receives=True, terms=Acceptance(tmp_path)), asks=True)
    offered = scene.session.offer()
    await scene.notice("accept a.txt")
    scene.session.withdraw(offered)
    with pytest.raises(TransferFailed, match="gave up"):
        await scene.end()


# The end.


async def test_errand_lets_the_other_side_finish(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that it is done, and leaves when the other side is done too, or says nothing for a while."""
    monkeypatch.setattr(errand_module, "_QUIET", 3600)
    scene.begin_errand(Wanted(messages=("one",)))
    await scene.texts(1)
    await until(lambda: scene.session.is_finished)
    scene.session.happen(MessageReceived(1, 0, "an answer"))
    await scene.heard()
    assert scene.running is not None
    assert not scene.running.done()
    scene.session.happen(PeerDone())
    await scene.end()
    assert any(isinstance(event, MessageReceived) for event in scene.said.events)


async def test_errand_that_is_done_does_not_wait_for_one_who_is_gone(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(errand_module, "_QUIET", 3600)
    scene.begin_errand(Wanted(messages=("one",)))
    await scene.texts(1)
    await until(lambda: scene.session.is_finished)
    scene.session.lose()
    with pytest.raises(ConnectionLost):
        await scene.end()


# What another session may go on with.


async def lost_of(scene: Scene, wanted: Wanted, memory: Memory, error: PunchwireError | None = None) -> str:
    """Lose the session; return what the errand says of that."""
    errands: list[Errand] = []

    def make(session: object) -> Errand:
        errands.append(Errand(session, wanted, scene.said, scene.lines, memory))  # type: ignore[arg-type]
        return errands[0]

    scene.begin(make)
    await until(lambda: bool(errands))
    await scene.heard()
    if wanted.paths and not memory.is_sent:
        await scene.sending()
    scene.session.lose(error)
    with pytest.raises(PunchwireError):
        await scene.end()
    return str(errands[0].lost or "")


@pytest.mark.parametrize(
    ("wanted", "memory"),
    [
        (Wanted(paths=("a",)), Memory()),
        (Wanted(receives=True), Memory()),
        (Wanted(paths=("a",), receives=True), Memory(is_sent=True)),
        (Wanted(paths=("a",), receives=True), Memory(is_received=True)),
    ],
)
async def test_an_errand_can_go_on(scene: Scene, tmp_path: Path, wanted: Wanted, memory: Memory) -> None:
    file_of(tmp_path, "a")
    assert await lost_of(scene, wanted, memory) == LOST


@pytest.mark.parametrize(
    ("wanted", "memory"),
    [
        (Wanted(messages=("one",)), Memory()),
        (Wanted(paths=("a",)), Memory(is_sent=True)),
        (Wanted(paths=("a", "-")), Memory()),
        (Wanted(paths=("a",), receives=True), Memory(is_sent=True, is_received=True)),
        (Wanted(receives=True, terms=Acceptance(io.BytesIO())), Memory()),  # type: ignore[arg-type]
    ],
)
async def test_an_errand_cannot_go_on(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: Wanted, memory: Memory
) -> None:
    monkeypatch.setattr(errand_module, "_QUIET", 3600)
    file_of(tmp_path, "a")
    assert await lost_of(scene, wanted, memory) == ""


async def test_nor_one_whose_other_side_broke_the_rules(scene: Scene) -> None:
    assert await lost_of(scene, Wanted(receives=True), Memory(), RemoteProtocolError("nonsense")) == ""


async def test_nor_one_whose_other_side_said_farewell(scene: Scene) -> None:
    scene.session.begin_to_leave("interrupted")
    assert await lost_of(scene, Wanted(receives=True), Memory()) == ""


async def test_nor_one_that_receives_a_stream(scene: Scene) -> None:
    scene.session.offer("|")
    assert await lost_of(scene, Wanted(receives=True), Memory()) == ""


async def test_what_was_done_is_not_done_again(scene: Scene, tmp_path: Path) -> None:
    file_of(tmp_path, "a")
    wanted = Wanted(messages=("one", "two"), paths=("a",), receives=True, terms=Acceptance(tmp_path, unasked=True))
    scene.begin_errand(wanted, memory=Memory(delivered=1, is_sent=True, is_received=True))
    offered = scene.session.offer()
    assert await scene.texts(1) == ["two"]
    await scene.end()
    assert scene.session.sendings == []
    assert scene.session.refused == [(offered.transfer, "only one transfer was asked for")]


async def test_what_was_accepted_is_not_asked_about_again(scene: Scene, tmp_path: Path) -> None:
    memory, wanted = Memory(), Wanted(receives=True, terms=Acceptance(tmp_path, overwrite=None))
    (tmp_path / "photos").mkdir()
    file_of(tmp_path / "photos", "b.jpg")
    scene.begin_errand(wanted, asks=True, memory=memory)
    scene.session.offer(*PHOTOS)
    scene.lines.type("2-3", "r")
    await scene.answers()
    first = scene.session.accepted[0]
    scene.session.lose()
    with pytest.raises(TransferFailed):
        await scene.end()
    again = Scene()
    again.begin_errand(wanted, asks=True, memory=memory)
    again.session.offer(("photos/", 0), "photos/raw/", *PHOTOS[1:3], PHOTOS[4])  # another order
    await again.answers()
    [second] = again.session.accepted
    assert (first.only, second.only) == ((2, 3), (1, 3))
    assert first.overwrite is second.overwrite is Overwrite.ALWAYS
    assert again.lines.asked == 0
    await again.stop()


@pytest.mark.parametrize("entries", [(("a.txt", 6),), (("b.txt", 5),)])
async def test_what_is_more_or_something_else_is_asked_about(
    scene: Scene, tmp_path: Path, entries: tuple[str, ...]
) -> None:
    memory, wanted = Memory(), Wanted(receives=True, terms=Acceptance(tmp_path))
    scene.begin_errand(wanted, asks=True, memory=memory)
    scene.session.offer()
    scene.lines.type("y")
    await scene.answers()
    scene.session.lose()
    with pytest.raises(TransferFailed):
        await scene.end()
    again = Scene()
    again.begin_errand(wanted, asks=True, memory=memory)
    again.session.offer(*entries)
    await again.notice("? [y/n]")
    await again.stop()


async def test_a_question_does_not_outlive_its_session(scene: Scene, tmp_path: Path) -> None:
    """Whoever asks next is to have the answer."""
    scene.begin_errand(Wanted(receives=True, terms=Acceptance(tmp_path)), asks=True)
    scene.session.offer()
    await scene.notice("accept a.txt")
    scene.session.lose()
    with pytest.raises(TransferFailed):
        await scene.end()
    scene.lines.type("y")
    assert await soon(scene.lines.next()) == "y"


async def test_errand_that_is_interrupted_tells_what_its_end_breaks(scene: Scene, tmp_path: Path) -> None:
    """Nobody reads the session's events by then."""
    scene.begin_errand(taking(tmp_path))
    scene.session.offer()
    await scene.answers()
    assert scene.running is not None
    broken = TransferBroken(3, False, "a.txt", TransferFailed("ended"), tmp_path / ".punchwire-1", 5)
    scene.session.breaks_at_its_end.append(broken)
    scene.running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scene.end()
    assert scene.said.events[-1] == broken
