"""What `p2p-peer verify` says, and its exit codes."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from p2p_core.ranges import Ranges
from p2p_peer.cli.main import main
from p2p_peer.transfer.receipts import store_receipt

from tests.core.signed_receipt import BLOCK, CONTENT, IDS, signed, transfer

Capture = pytest.CaptureFixture[str]


def stored(folder: Path, missing: Ranges = (), **changes: Any) -> Path:
    manifest, ledger = transfer()
    return store_receipt(folder, signed(ledger.root(), missing, **changes), manifest, ledger)


def written(folder: Path, name: str, content: bytes) -> Path:
    (folder / name).write_bytes(content)
    return folder / name


def test_a_file_that_is_whole(tmp_path: Path, capsys: Capture) -> None:
    file = written(tmp_path, "mine\x1b", CONTENT[1])
    assert main(["verify", str(stored(tmp_path)), str(file)]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        f"{tmp_path}/mine\\x1b is what was received as photos/ü\\n.jpg, {BLOCK + 1} bytes",
        f"sender    {IDS[0]}",
        f"receiver  {IDS[1]}",
        "stored    2023-11-14 22:13:20 UTC by the receiver's clock",
    ]
    assert said.err == ""


def test_no_part_of_a_name_looks_like_a_line_of_its_own(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    file = written(tmp_path, "x" * 100 + "stored    never", CONTENT[1])
    assert main(["verify", str(stored(tmp_path)), str(file)]) == 0
    first, *more, sender, _, _ = capsys.readouterr().out.splitlines()
    assert more
    assert all(row.startswith("  ") for row in more)
    assert (
        first + "".join(row[2:] for row in more) == f"{file} is what was received as photos/ü\\n.jpg, {BLOCK + 1} bytes"
    )
    assert sender.startswith("sender")


def test_as_an_object(tmp_path: Path, capsys: Capture) -> None:
    receipt = stored(tmp_path, outgoing=True)
    assert main(["verify", str(receipt), str(written(tmp_path, "x", CONTENT[5])), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "verified": True,
        "path": "stdin",
        "size": 3,
        "direction": "sent",
        "sender": str(IDS[0]),
        "receiver": str(IDS[1]),
        "received_at_ms": 1_700_000_000_123,
    }


@pytest.mark.parametrize(
    ("name", "missing", "path"),
    [
        ("x", (), "photos/ü\n.jpg"),
        ("copy", (), "photos/copy"),
        ("copy", ((4, 1),), "photos/ü\n.jpg"),
        ("x", ((0, 3),), "photos/copy"),
    ],
)
def test_which_of_two_it_is(tmp_path: Path, capsys: Capture, name: str, missing: Ranges, path: str) -> None:
    assert main(["verify", str(stored(tmp_path, missing)), str(written(tmp_path, name, CONTENT[1])), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["path"] == path


def refused(capsys: Capture, *arguments: object) -> tuple[int, str]:
    """Return exit code and sentence, which are the same for people and programs."""
    words = ["verify", *map(str, arguments)]
    code = main(words)
    said = capsys.readouterr()
    assert said.out == ""
    assert main([*words, "--json"]) == code
    found = json.loads(capsys.readouterr().out)
    assert not found["verified"]
    assert said.err == f"p2p-peer: {found['message']}\n          {found['advice']}\n"
    return code, found["message"]


@pytest.mark.parametrize(
    "content",
    [b"", CONTENT[1][:-1], CONTENT[1] + b"x", CONTENT[1][::-1], CONTENT[5] + bytes(BLOCK), bytes(7)],
    ids=["empty", "shorter", "longer", "changed", "more", "left out"],
)
@pytest.mark.parametrize("outgoing", [True, False])
def test_a_file_that_differs(tmp_path: Path, capsys: Capture, outgoing: bool, content: bytes) -> None:
    file = written(tmp_path, "copy", content)
    done = "sent" if outgoing else "received"
    assert refused(capsys, stored(tmp_path, outgoing=outgoing), file) == (
        8,
        f"{file} is not what was {done}: the receipt has no file with this content",
    )


def test_a_file_that_was_not_stored(tmp_path: Path, capsys: Capture) -> None:
    file = written(tmp_path, "copy", CONTENT[1])
    assert refused(capsys, stored(tmp_path, ((1, 4),)), file) == (
        8,
        f"{file} was sent, but the receiver has signed that it did not store it",
    )


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: Capture) -> None:
    receipt = stored(tmp_path)
    assert refused(capsys, receipt, tmp_path) == (2, f"{tmp_path} cannot be read: it is a folder")
    none = tmp_path / "none"
    assert refused(capsys, receipt, none) == (2, f"{none} cannot be read: No such file or directory")


def test_a_receipt_that_cannot_be_read(tmp_path: Path, capsys: Capture) -> None:
    file = written(tmp_path, "copy", CONTENT[1])
    assert refused(capsys, file, file) == (2, f"{file} cannot be used: it is no receipt")
    assert refused(capsys, tmp_path, file) == (2, f"{tmp_path} cannot be read: it is a folder")


def test_a_receipt_that_was_changed(tmp_path: Path, capsys: Capture) -> None:
    file = written(tmp_path, "copy", CONTENT[1])
    receipt = stored(tmp_path)
    text = receipt.read_text()
    for changed, sentence in (
        (text.replace("copy", "coqy"), "lines of it are missing or were changed"),
        (text[: text.rindex("[")], "lines of it are missing or were changed"),
        (text[:-5], "its line 7 is none of a receipt"),
        (text.replace("123,", "124,", 1), "it was changed, or its signatures are not those of its two keys"),
        (text.replace('"version": 1', '"version": 2'), "it is of another version of Punchwire"),
    ):
        assert changed != text
        receipt.write_text(changed)
        assert refused(capsys, receipt, file) == (2, f"{receipt} cannot be used: {sentence}")


@pytest.mark.parametrize("time", [0, 253402300800000, 2**63, 2**64 - 1])
def test_whatever_time_the_receiver_signs(tmp_path: Path, capsys: Capture, time: int) -> None:
    receipt = stored(tmp_path, received_at_ms=time)
    assert main(["verify", str(receipt), str(written(tmp_path, "copy", CONTENT[1]))]) == 0
    shown = f"{time} ms after 1970" if time else "1970-01-01 00:00:00 UTC"
    assert f"stored    {shown} by the receiver's clock\n" in capsys.readouterr().out
