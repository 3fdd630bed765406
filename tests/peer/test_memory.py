import pytest
from p2p_core.errors import TransferFailed
from p2p_core.manifest import TOP, Entry, EntryKind, Manifest
from p2p_peer.cli.memory import Accepted, Memory
from p2p_peer.transfer.target import Overwrite

from tests.peer.fake_session import manifest_of

PHOTOS = ("photos/", ("photos/a.jpg", 5), ("photos/b.jpg", 6), "photos/raw/", ("photos/raw/c.raw", 7))


@pytest.mark.parametrize(
    ("entries", "covered"),
    [
        (PHOTOS, True),
        ((*PHOTOS[:2], ("photos/b.jpg", 5), *PHOTOS[3:]), True),  # less
        ((*PHOTOS[:2], ("photos/b.jpg", 7), *PHOTOS[3:]), False),  # more
        ((*PHOTOS, "photos/d.jpg"), False),
        (("else/", *(("else/" + name, 5) for name in "abc")), False),
        ((*PHOTOS[:2], ("photos/thesis.odt", 6), *PHOTOS[3:]), False),  # as many and as much, of another name
        ((*PHOTOS[:2], "photos/b.jpg/", *PHOTOS[3:]), False),  # of another kind
    ],
)
def test_what_was_accepted_covers_the_same_and_no_more(entries: tuple[str, ...], covered: bool) -> None:
    accepted = Accepted.of(manifest_of(*PHOTOS), None, Overwrite.RENAME)
    assert accepted.covers(manifest_of(*entries)) is covered
    assert accepted.entries(manifest_of(*entries)) is None


def test_what_was_chosen_is_found_again_by_its_path() -> None:
    accepted = Accepted.of(manifest_of(*PHOTOS), (1, 3), Overwrite.RENAME)
    again = manifest_of(PHOTOS[0], PHOTOS[3], PHOTOS[4], PHOTOS[2], PHOTOS[1])
    assert accepted.covers(again)
    assert accepted.entries(again) == (1, 4)


def test_of_what_was_chosen_there_may_not_be_more() -> None:
    """However much there was of the rest."""
    accepted = Accepted.of(manifest_of(*PHOTOS), (1,), Overwrite.RENAME)
    assert accepted.covers(manifest_of("photos/", ("photos/a.jpg", 5), "photos/new"))
    assert not accepted.covers(manifest_of("photos/", ("photos/a.jpg", 6)))


def test_a_stream_is_not_what_a_file_of_its_name_was() -> None:
    """Nobody knows how much it will be."""
    stream = Manifest()
    stream.add(Entry(EntryKind.STREAM, TOP, "a"))
    assert not Accepted.of(manifest_of(("a", 5)), None, Overwrite.RENAME).covers(stream)


def test_nothing_of_what_was_chosen_is_there() -> None:
    """Then it is not taken for everything."""
    accepted = Accepted.of(manifest_of(*PHOTOS), (1,), Overwrite.RENAME)
    assert not accepted.covers(manifest_of("photos/", *((f"photos/{name}", 1) for name in "xyz")))


@pytest.mark.parametrize(
    ("memory", "says", "advice"),
    [
        (Memory(unsent=1), "1 file was not sent: see above", "Mend what kept it from arriving, and send it again."),
        (
            Memory(unreceived=2),
            "2 files were not received: see above",
            "Mend what kept them from arriving, and send them again.",
        ),
        (
            Memory(unsent=2, unreceived=1, has_some=True),
            "2 files were not sent, 1 file was not received: see above",
            "The others arrived. Mend what kept these from it, and send them again.",
        ),
        (
            Memory(unreceived=1, has_some=True),
            "1 file was not received: see above",
            "The others arrived. Mend what kept this one from it, and send it again.",
        ),
    ],
)
def test_what_is_missing_is_told(memory: Memory, says: str, advice: str) -> None:
    with pytest.raises(TransferFailed) as caught:
        memory.check_whole()
    assert (str(caught.value), caught.value.advice) == (says, advice)


def test_nothing_is_missing() -> None:
    Memory(delivered=1, is_sent=True, is_received=True).check_whole()
