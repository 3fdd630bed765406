"""What both sides keep of transfers: receipts that verify, and a history."""

import asyncio
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from p2p_core.errors import ConnectionLost
from p2p_core.proof import Role
from p2p_core.receipt import Receipt
from p2p_peer.cli.main import main
from p2p_peer.events import TransferOffered, TransferReceived, TransferSent
from p2p_peer.transfer import archive as archive_module
from p2p_peer.transfer.receipts import load_receipt

from tests.peer.pair import INITIATOR_KEY, PATIENCE, RESPONDER_KEY, Pair, channels, soon, state_dir, until
from tests.peer.tries import standard_input

MIB = 1024 * 1024
Ends = tuple[TransferSent, TransferReceived]


async def transferred(pair: Pair, *names: str, **options: Any) -> Ends:
    """Have what is in the outbox transferred; return what both sides say of it."""
    pair.responder.accept_all(pair.inbox, **options)
    return await soon(pair.start(*names)), await pair.responder.wait_for(TransferReceived)


def receipts(ends: Ends) -> tuple[Receipt, Receipt]:
    """What both sides have filed, with all signatures checked."""
    loaded = []
    for end in ends:
        assert end.receipt is not None
        loaded.append(load_receipt(end.receipt).receipt)
        loaded[-1].check()
    return loaded[0], loaded[1]


def history(folder: Path, role: Role) -> list[Any]:
    return [json.loads(line) for line in (state_dir(folder, role) / "history.jsonl").read_text().splitlines()]


async def test_both_sides_have_the_same_receipt(pair: Pair, tmp_path: Path) -> None:
    pair.file("it/a", 3 * MIB)
    pair.file("it/b", 5)
    pair.file("it/c", 0)
    ends = await transferred(pair, "it")
    ours, theirs = receipts(ends)
    assert (ours.outgoing, theirs.outgoing) == (True, False)
    for receipt in (ours, theirs):
        assert receipt.session_id == pair.initiator.session.session_id
        assert (receipt.transfer, receipt.sender_role, receipt.missing) == (1, Role.INITIATOR, ())
        assert receipt.sender.public_numbers() == INITIATOR_KEY.public_key().public_numbers()
        assert receipt.receiver.public_numbers() == RESPONDER_KEY.public_key().public_numbers()
    assert (ours.root, ours.received_at_ms) == (theirs.root, theirs.received_at_ms)
    for end, role in zip(ends, (Role.INITIATOR, Role.RESPONDER), strict=True):
        assert end.receipt is not None
        assert end.receipt.parent == state_dir(tmp_path, role) / "receipts"
        (line,) = history(tmp_path, role)
        del line["time"]
        assert line == {
            "direction": "sent" if role is Role.INITIATOR else "received",
            "peer": str(pair.initiator.session.peer if role is Role.INITIATOR else pair.responder.session.peer),
            "label": "it/ (3 files)",
            "files": 3,
            "bytes": 3 * MIB + 5,
            "failed": 0,
            "receipt": str(end.receipt),
        }


async def test_in_the_other_direction(pair: Pair) -> None:
    pair.initiator.accept_all(pair.inbox)
    sent = await soon(pair.responder.session.send([pair.file("a", 5)]))
    ours, theirs = receipts((sent, await pair.initiator.wait_for(TransferReceived)))
    for receipt in (ours, theirs):
        assert receipt.sender_role is Role.RESPONDER
        assert receipt.sender.public_numbers() == RESPONDER_KEY.public_key().public_numbers()


async def test_a_file_is_found_in_the_receipts(pair: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    """And one that is another, or was not wanted, is not."""
    for name in ("it/a", "it/b"):
        pair.file(name, MIB + 1)
    sending = pair.start("it")
    offered = await pair.responder.wait_for(TransferOffered)
    entries = {offered.manifest.name(entry): entry for entry in range(len(offered.manifest))}
    pair.responder.session.accept(offered, pair.inbox, only=[entries["a"]])
    ends = await soon(sending), await pair.responder.wait_for(TransferReceived)
    receipts(ends)
    pair.file("other", MIB + 1)
    for end in ends:
        assert main(["verify", str(end.receipt), str(pair.inbox / "it/a")]) == 0
        assert main(["verify", str(end.receipt), str(pair.outbox / "it/b")]) == 8
        assert main(["verify", str(end.receipt), str(pair.outbox / "other")]) == 8
    capsys.readouterr()


async def test_a_stream_and_what_is_sent_beside_it(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.file("a", 5)
    pair.responder.accept_all(pair.inbox)
    with standard_input(monkeypatch, bytes(2 * MIB + 1)):
        sent = await soon(pair.initiator.session.send([pair.outbox / "a", "-"]))
    ends = sent, await pair.responder.wait_for(TransferReceived)
    for end, receipt in zip(ends, receipts(ends), strict=True):
        assert receipt.missing == ()
        assert (end.files, end.size, end.moved) == (2, 2 * MIB + 6, 2 * MIB + 6)
        assert main(["verify", str(end.receipt), str(pair.inbox / "stdin")]) == 0


async def test_several_have_a_receipt_each(pair: Pair, tmp_path: Path) -> None:
    for name in ("a", "b"):
        pair.file(name, 5)
    first = await transferred(pair, "a")
    second = await soon(pair.start("b"))
    assert second.receipt not in (None, first[0].receipt)
    lines = history(tmp_path, Role.INITIATOR)
    assert [(line["label"], line["receipt"]) for line in lines] == [
        ("a", str(first[0].receipt)),
        ("b", str(second.receipt)),
    ]


async def test_without_a_state_folder_nothing_is_kept(tmp_path: Path) -> None:
    pair = Pair.on(await channels(), tmp_path)
    for session in pair.sessions:
        session._archive._state_dir = None
    pair.file("a", 5)
    ends = await transferred(pair, "a")
    assert [end.receipt for end in ends] == [None, None]
    await pair.leave()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inbox", "outbox"]


async def test_a_state_folder_that_cannot_be_written_to(
    pair: Pair, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What arrived has arrived."""
    for role in Role:
        state_dir(tmp_path, role).write_text("no folder")
    pair.file("a", 5)
    ends = await transferred(pair, "a")
    assert [(end.files, end.receipt) for end in ends] == [(1, None), (1, None)]
    said = [record.getMessage() for record in caplog.records if record.name == archive_module.__name__]
    for words in ("the receipt is not kept: ", "the history does not tell of it: "):
        assert len([line for line in said if line.startswith(words)]) == 2
    assert len(said) == 4


async def test_a_receipt_that_cannot_be_filed_is_in_the_history_all_the_same(pair: Pair, tmp_path: Path) -> None:
    pair.file("a", 5)
    for role in (Role.INITIATOR, Role.RESPONDER):
        state_dir(tmp_path, role).mkdir(parents=True, exist_ok=True)
        (state_dir(tmp_path, role) / "receipts").write_text("in its place")
    ends = await transferred(pair, "a")
    assert [end.receipt for end in ends] == [None, None]
    for role in (Role.INITIATOR, Role.RESPONDER):
        (line,) = history(tmp_path, role)
        assert (line["label"], line["receipt"]) == ("a", None)


@pytest.mark.parametrize("how", ["both leave", "the connection is cut"])
async def test_the_session_ends_while_receipts_are_filed(pair: Pair, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """That is waited for: none loses what it has just been given."""
    gate, filing, real = threading.Event(), threading.Semaphore(0), archive_module.store_receipt

    def store_receipt(*arguments: Any) -> Path:
        filing.release()
        assert gate.wait(PATIENCE)
        return real(*arguments)

    monkeypatch.setattr(archive_module, "store_receipt", store_receipt)
    pair.file("a", 5)
    pair.responder.accept_all(pair.inbox)
    sending = pair.start("a")
    for _ in range(2):
        await until(lambda: filing.acquire(blocking=False))
    if how == "both leave":
        closing = asyncio.gather(*(session.close() for session in pair.sessions))
    else:
        pair.initiator.session._driver.channel.stream.socket.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
        closing = asyncio.gather(*(session.wait_closed() for session in pair.sessions))
    await until(lambda: all(session._driver._pump._over for session in pair.sessions) or how == "both leave")
    assert not any(session.is_over for session in pair.sessions)
    gate.set()
    await soon(closing)
    ends = await soon(sending), pair.responder.all(TransferReceived)[0]
    receipts(ends)
    for peer in (pair.initiator, pair.responder):
        assert isinstance(await peer.end(), ConnectionLost if how == "the connection is cut" else type(None))
