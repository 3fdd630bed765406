from pathlib import Path

import pytest
from p2p_core.manifest import Entry, EntryKind, Manifest
from p2p_peer.cli.offer_text import (
    choice,
    item_lines,
    items_to_choose,
    left_out_lines,
    offer_title,
    room_line,
    top_items,
)
from p2p_peer.transfer.tree import SendOptions, scan

from tests.peer.fake_session import manifest_of

PHOTOS = ("photos/", ("photos/a.jpg", 5), "photos/raw/", ("photos/raw/b.raw", 1000), ("photos/raw/c.raw", 2000))


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        ((("a.iso", 1500),), "a.iso (1.5 kB)"),
        (("|",), "stdin (size not known)"),
        (PHOTOS, "photos/ (3 files, 3.0 kB)"),
        (("empty/",), "empty/ (0 files, 0 B)"),
        ((("one/"), ("one/a", 1)), "one/ (1 file, 1 B)"),
        ((*PHOTOS, ("z", 1), "|"), "photos/ and 2 more (5 files, 3.0 kB)"),
        ((), "nothing"),
    ],
)
def test_what_is_offered(entries: tuple[str, ...], says: str) -> None:
    assert offer_title(manifest_of(*entries)) == says


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (".bashrc", "bashrc"),
        ("what?.txt", "what_.txt"),
        ("inv.pdf" + " " * 5 + ".exe", "inv.pdf␣␣␣␣␣.exe"),
        ("..\\up", "..\\up"),  # which is refused
    ],
)
def test_names_are_those_on_the_disk(name: str, shown: str) -> None:
    assert offer_title(manifest_of((name, 5))) == f"{shown} (5 B)"


def test_what_can_be_chosen_of_a_folder_is_what_is_in_it() -> None:
    items = items_to_choose(manifest_of(*PHOTOS, "photos/link -> a.jpg", "photos/.hidden"))
    assert [(item.entry, item.shown, item.files, item.size, item.amount) for item in items] == [
        (1, "a.jpg", 1, 5, "5 B"),
        (2, "raw/", 2, 3000, "2 files, 3.0 kB"),
        (5, "link", 0, 0, "a link"),
        (6, ".hidden", 1, 0, "0 B"),
    ]


def test_what_can_be_chosen_of_several_is_each() -> None:
    manifest = manifest_of(*PHOTOS, ("z", 7), "|")
    assert items_to_choose(manifest) == top_items(manifest)
    assert [(item.entry, item.shown, item.amount) for item in top_items(manifest)] == [
        (0, "photos/", "3 files, 3.0 kB"),
        (5, "z", "7 B"),
        (6, "stdin", "size not known"),
    ]


def test_of_a_folder_that_comes_back_all_is_counted() -> None:
    """A sender may mix the entries as it likes."""
    manifest = manifest_of("a/", "b/", ("a/1", 1), ("b/1", 10), ("a/2", 2), "a/c/", ("b/2", 20), ("a/c/3", 3))
    assert [(item.shown, item.files, item.size) for item in top_items(manifest)] == [("a/", 3, 6), ("b/", 2, 30)]


def test_lines() -> None:
    assert item_lines(manifest_of(*PHOTOS)) == ["   1  a.jpg  5 B", "   2  raw/   2 files, 3.0 kB"]
    assert item_lines(manifest_of(("a.iso", 5))) == []
    assert item_lines(manifest_of("|")) == []
    assert item_lines(manifest_of()) == []
    assert item_lines(manifest_of("empty/")) == []
    assert item_lines(manifest_of("one/", ("one/a", 5))) == ["   1  a  5 B"]


def test_the_first_lines_only() -> None:
    lines = item_lines(manifest_of(*((f"file {number:03}", 5) for number in range(105))))
    assert len(lines) == 11
    assert lines[9:] == ["  10  file 009  5 B", "      and 95 more"]


def test_lines_are_short_and_do_nothing() -> None:
    manifest = Manifest()
    for name in ("x" * 200, "evil\x1b[31m", "\u202egnp.exe", "語" * 80):
        manifest.add(Entry(EntryKind.FILE, -1, name, 5))
    lines = item_lines(manifest)
    assert len(lines) == 4
    for line in lines:
        assert line.isprintable()
        assert len(line) < 60


def test_how_much_room_there_is() -> None:
    manifest = manifest_of(("a", 1000))
    assert room_line(manifest, 1000, Path("/inbox")) == "1.0 kB are free in /inbox"
    assert room_line(manifest, 999, Path("/inbox")) == (
        "it does not fit, unless most of it is there already: 999 B are free in /inbox"
    )


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("1", (1,)),
        ("2", (2,)),
        (" 1,2 ", (1, 2)),
        ("2 1", (1, 2)),
        ("1-2", (1, 2)),
        ("1,1-2", (1, 2)),
        ("2, 1", (1, 2)),
        ("", None),
        ("0", None),
        ("3", None),
        ("1-3", None),
        ("2-1", None),
        ("1,", None),
        ("a", None),
        ("1-", None),
        ("-1", None),
        ("²", None),
        ("1" * 5000, None),
    ],
)
def test_a_choice(text: str, entries: tuple[int, ...] | None) -> None:
    assert choice(text, items_to_choose(manifest_of(*PHOTOS))) == entries


def test_what_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    for number in range(5):
        Path("folder", f".{number}").touch()
    Path("folder", "a.tmp").touch()
    Path("folder", "link").symlink_to("/etc")
    Path("folder", "old").symlink_to("gone")
    assert left_out_lines(scan(["folder"], SendOptions(exclude=("*.tmp",)))) == [
        "left out, hidden: folder/.0, folder/.1, folder/.2 and 2 more",
        "left out, excluded: folder/a.tmp",
        "left out, links that lead out of what is sent: folder/link",
        "left out, links that lead nowhere: folder/old",
    ]
