"""The conversations of the pages are what two session machines say, and neither reading of them takes anything else."""

from typing import TypedDict

import pytest
from cryptography.exceptions import InvalidSignature
from p2p_core.errors import ProofFailed, PunchwireError, RemoteProtocolError
from p2p_core.machines.events import Closed, MessageDelivered, MessageReceived, TransferArrived, TransferSent
from p2p_core.proof import Role
from p2p_core.wire.frames import Kind

from tests.vectors import independent, pages
from tests.vectors.made import session, transfer
from tests.vectors.made.inputs import MILLISECONDS
from tests.vectors.made.talks import Steps, play
from tests.vectors.pages import Talk


class Arguments(TypedDict, total=False):
    """What `play` wants beside the steps."""

    before: Steps
    proved: bool


TALKS: dict[str, tuple[Steps, Arguments]] = {
    "talk-session": (session.CONVERSATION, {}),
    "talk-resumed": (session.RESUMED, {"before": session.BEFORE, "proved": True}),
    "talk-transfer": (transfer.CONVERSATION, {"proved": True}),
}
PLACES = [(name, at) for name in TALKS for at in range(len(pages.read_talk(name)))]
SIGNED = {Kind.KEY_PROOF, Kind.MESSAGE, Kind.TRANSFER_END, Kind.TRANSFER_RECEIPT}
SIGNATURES = [(name, at) for name, at in PLACES if pages.read_talk(name)[at][1][4] in SIGNED]


def test_two_machines_have_the_conversation_of_the_page() -> None:
    said = pages.read_talk("talk-session")
    talked, sides = play(session.CONVERSATION, said=said)
    assert talked == said
    assert all(side.machine.is_closed for side in sides.values())
    assert MessageDelivered(1) in sides[Role.INITIATOR].events
    assert MessageReceived(1, MILLISECONDS, "hello") in sides[Role.RESPONDER].events
    assert all(side.events[-1] == Closed("") for side in sides.values())


def test_two_machines_have_the_transfer_of_the_page() -> None:
    said = pages.read_talk("talk-transfer")
    talked, sides = play(transfer.CONVERSATION, proved=True, said=said)
    assert talked == said
    [sent] = [event for event in sides[Role.INITIATOR].events if isinstance(event, TransferSent)]
    [arrived] = [event for event in sides[Role.RESPONDER].events if isinstance(event, TransferArrived)]
    assert sent.end.root == arrived.end.root
    assert (sent.receipt.received_at_ms, sent.receipt.missing) == (MILLISECONDS, ())


def test_two_machines_go_on_as_the_page_says() -> None:
    said = pages.read_talk("talk-resumed")
    talked, sides = play(session.RESUMED, before=session.BEFORE, proved=True, said=said)
    assert talked == said
    assert [event for event in sides[Role.INITIATOR].events if isinstance(event, MessageDelivered)] == [
        MessageDelivered(1),
        MessageDelivered(2),
    ]
    shown = [event.text for event in sides[Role.RESPONDER].events if isinstance(event, MessageReceived)]
    assert shown == ["hello", "again"]


@pytest.mark.parametrize(("name", "at"), SIGNATURES)
def test_every_signature_is_looked_at(name: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said = pages.read_talk(name)
    role, frame = said[at]
    altered = (*said[:at], (role, frame[:-1] + bytes([frame[-1] ^ 1])), *said[at + 1 :])
    steps, arguments = TALKS[name]
    with pytest.raises((ProofFailed, RemoteProtocolError)):
        play(steps, **arguments, said=altered)
    monkeypatch.setattr(pages, "read_talk", lambda name: altered)
    with pytest.raises(InvalidSignature):
        independent.CHECKS[name]()


def neither_takes(name: str, altered: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    steps, arguments = TALKS[name]
    with pytest.raises(PunchwireError):
        play(steps, **arguments, said=altered)
    monkeypatch.setattr(pages, "read_talk", lambda name: altered)
    with pytest.raises((AssertionError, KeyError, InvalidSignature)):
        independent.CHECKS[name]()


@pytest.mark.parametrize(("name", "at"), PLACES)
def test_every_frame_is_needed(name: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said = pages.read_talk(name)
    neither_takes(name, said[:at] + said[at + 1 :], monkeypatch)


@pytest.mark.parametrize(
    ("name", "at"), [(name, at) for name, at in PLACES if pages.read_talk(name)[at][1][4] != Kind.MESSAGE_ACK]
)
def test_no_frame_comes_twice(name: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said = pages.read_talk(name)
    neither_takes(name, said[: at + 1] + said[at:], monkeypatch)


@pytest.mark.parametrize(("name", "at"), PLACES)
def test_whose_frame_it_is_counts(name: str, at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    said = pages.read_talk(name)
    role, frame = said[at]
    other = Role(role).other.value
    neither_takes(name, (*said[:at], (other, frame), *said[at + 1 :]), monkeypatch)
