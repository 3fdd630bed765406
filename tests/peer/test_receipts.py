import json
import os
import re
import stat
from pathlib import Path

import pytest
from p2p_core.errors import LocalProtocolError, NotPrivate, ReceiptUnreadable, UsageError
from p2p_core.ledger import Ledger
from p2p_peer.transfer.receipts import PastTransfer, add_to_history, load_receipt, store_receipt

from tests.core.signed_receipt import ENTRIES, IDS, signed, transfer

MANIFEST, LEDGER = transfer()
PAST = PastTransfer(True, IDS[1], "photos/ (3 files)\n\x1b", 3, 10**13, 1, None)


@pytest.mark.parametrize("outgoing", [True, False])
def test_what_is_stored_is_loaded(tmp_path: Path, outgoing: bool) -> None:
    receipt = signed(LEDGER.root(), outgoing=outgoing)
    path = store_receipt(tmp_path / "new" / "state", receipt, MANIFEST, LEDGER)
    assert path.parent == tmp_path / "new" / "state" / "receipts"
    who = f"sent-{IDS[1].short}" if outgoing else f"received-{IDS[0].short}"
    assert re.fullmatch(rf"\d{{8}}T\d{{6}}Z-{who}-00010203-2\.jsonl", path.name)
    whole = load_receipt(path)
    assert whole.receipt == receipt
    assert tuple(whole.manifest) == ENTRIES


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = store_receipt(tmp_path / "state", signed(LEDGER.root()), MANIFEST, LEDGER)
    add_to_history(tmp_path / "state", PAST)
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, tmp_path / "state" / "history.jsonl")]
    assert modes == [0o600, 0o600]
    folders = [path.parent, tmp_path / "state"]
    assert [stat.S_IMODE(each.stat().st_mode) for each in folders] == [0o700, 0o700]


def test_a_receipt_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(LocalProtocolError):  # in the middle of the lines
        store_receipt(tmp_path, signed(LEDGER.root()), MANIFEST, Ledger(MANIFEST))
    assert list((tmp_path / "receipts").iterdir()) == []


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "receipts").touch()
    (tmp_path / "history.jsonl").mkdir()
    with pytest.raises(UsageError, match=re.escape(str(tmp_path))):
        store_receipt(tmp_path, signed(LEDGER.root()), MANIFEST, LEDGER)
    with pytest.raises(UsageError, match=re.escape(str(tmp_path))):
        add_to_history(tmp_path, PAST)


@pytest.mark.parametrize("mode", [0o620, 0o666])
def test_a_history_that_others_can_write_to_is_left_alone(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text("theirs\n")
    path.chmod(mode)
    with pytest.raises(NotPrivate, match=f"other users of this computer can write to {path}, so"):
        add_to_history(tmp_path, PAST)
    assert path.read_text() == "theirs\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_history_of_another_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    path.touch(0o600)
    os.chown(path, 4321, -1)
    with pytest.raises(NotPrivate, match=f"{path} belongs to another user"):
        add_to_history(tmp_path, PAST)
    assert path.read_bytes() == b""


def test_a_link_or_a_pipe_in_the_place_of_the_history(tmp_path: Path) -> None:
    """Neither is written to, and the pipe not waited for, whether somebody reads it or not."""
    path, elsewhere = tmp_path / "history.jsonl", tmp_path / "elsewhere"
    path.symlink_to(elsewhere)
    with pytest.raises(UsageError, match=re.escape(str(path))):
        add_to_history(tmp_path, PAST)
    assert not elsewhere.exists()
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(UsageError, match=f"{path} cannot be written to"):
        add_to_history(tmp_path, PAST)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises(UsageError, match=f"{path} cannot be written to: it is not a regular file"):
            add_to_history(tmp_path, PAST)
        assert os.read(reader, 100) == b""
    finally:
        os.close(reader)


@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777])
def test_a_folder_of_receipts_that_others_can_write_to(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "receipts"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(NotPrivate, match=f"other users of this computer can write to {folder}, so"):
        store_receipt(tmp_path, signed(LEDGER.root()), MANIFEST, LEDGER)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("what", ["nothing", "folder", "pipe", "empty", "zeros", "text"])
def test_what_is_no_receipt(tmp_path: Path, what: str) -> None:
    path = tmp_path / "receipt"
    match what:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "empty":
            path.touch()
        case "zeros":
            with path.open("wb") as file:
                file.truncate(2**40)  # a hole: read to its end, it would fill the memory
        case "text":
            path.write_text("a letter\n")
    with pytest.raises(ReceiptUnreadable, match=re.escape(str(path))):
        load_receipt(path)


def test_the_history_has_a_line_for_each_transfer(tmp_path: Path) -> None:
    add_to_history(tmp_path, PAST)
    add_to_history(tmp_path, PastTransfer(False, IDS[0], "a.iso", 1, 5, 0, tmp_path / "receipts" / "r.jsonl"))
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text("ascii").splitlines()]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line.pop("time")) for line in lines)
    assert lines == [
        {
            "direction": "sent",
            "peer": str(IDS[1]),
            "label": "photos/ (3 files)\n\x1b",
            "files": 3,
            "bytes": 10**13,
            "failed": 1,
            "receipt": None,
        },
        {
            "direction": "received",
            "peer": str(IDS[0]),
            "label": "a.iso",
            "files": 1,
            "bytes": 5,
            "failed": 0,
            "receipt": str(tmp_path / "receipts" / "r.jsonl"),
        },
    ]
