"""What is wrong with a run: nothing may be lost, come twice, hang, or be left behind. In sentences; none is well.

Who was killed may have been shown, and have acknowledged, what nobody saw of it, and so may who was interrupted while
the other side could not hear it; whatever else is allowed to happen is said where it is allowed.
"""

import errno
import os
import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Final

from tests.faults.deadlines import INTERRUPTED
from tests.faults.observing import Arrived, Observation, Process
from tests.faults.scenario import Kind

__all__ = ["judge"]

# The README's table of exit codes: what a fault may end a program with, and which ones.
ALWAYS: Final = {
    ("peer-did-not-come", 5),
    ("no-path", 6),
    ("connection-lost", 6),
    ("refused", 7),
    ("transfer-failed", 8),
}
ONLY_BY: Final = {
    ("mediator-unreachable", 3): {Kind.KILL_MEDIATOR, Kind.DRAIN_MEDIATOR, Kind.PAUSE_MEDIATOR, Kind.KILL_REDIS}
    | {Kind.CUT_OFF, Kind.FORGET_FLOWS, Kind.CHANGE_ADDRESS},
    ("usage", 2): {Kind.FILL_STATE},  # at its start: the folder it was given is of no use
    ("clocks-differ", 4): {Kind.MOVE_CLOCK},
    ("token-expired", 4): {Kind.MOVE_CLOCK},
    ("token-rejected", 4): {Kind.MOVE_CLOCK},  # it is from the future
    ("not-admitted", 4): {Kind.KILL_PEER, Kind.STOP_PEER, Kind.PAUSE_PEER, Kind.CUT, Kind.CUT_ONE_WAY, Kind.CUT_OFF},
}
FULL_DISKS: Final = {Kind.FILL_STATE, Kind.FILL_TARGET}
UNHEARD: Final = {Kind.PAUSE_PEER, Kind.CUT, Kind.CUT_ONE_WAY, Kind.CUT_OFF, Kind.FORGET_FLOWS, Kind.CHANGE_ADDRESS} | {
    Kind.KILL_MEDIATOR,  # which may have relayed
    Kind.PAUSE_MEDIATOR,
}
INTERRUPTED_CODE: Final = 130
NOISE: Final = re.compile(
    r"Traceback|was never awaited|Task was destroyed|never retrieved|Exception ignored|ResourceWarning|Unclosed|"
    r"Fatal Python error|Segmentation"
)


def judge(seen: Observation) -> list[str]:
    """Return what is wrong."""
    return [
        *seen.wrong,
        *(sentence for each in (*seen.processes, *seen.mended) for sentence in _process(each, seen)),
        *_mended(seen),
        *_messages(seen),
        *(sentence for tree in seen.arrived for sentence in _tree(tree, seen)),
        *(f"left behind: {what}" for what in seen.left),
    ]


def _process(one: Process, seen: Observation) -> Iterator[str]:
    if one.hung:
        yield f"{one.name} did not end within its deadline"
        return
    if one.garbage:
        yield f"{one.name} printed what is no event: {one.garbage[0]!r}"
    if one.errors and (found := NOISE.search(one.errors)):
        yield f"{one.name} said {found[0]!r} on standard error"
    elif strange := [line for line in one.errors.splitlines() if not _tells_of_a_disk(line, seen)]:
        yield f"{one.name} said something on standard error: {strange[-1]!r}"
    if one.killed:
        return
    if one.code == INTERRUPTED_CODE:
        if one.signalled is None:
            yield f"{one.name} was interrupted by nobody"
    elif one.code != 0:
        yield from _failure(one, seen)
    elif one.error is not None:
        yield f"{one.name} ended well, and said {one.error}"
    if one.signalled is not None and one.signalled > INTERRUPTED:
        yield f"{one.name} took {one.signalled:.1f} s to end after a signal"


def _tells_of_a_disk(line: str, seen: Observation) -> bool:
    """Whether it is the notice that a receipt, or the like, is not kept: all else goes on without."""
    return os.strerror(errno.ENOSPC) in line and bool({Kind(kind) for kind in seen.faults} & FULL_DISKS)


def _failure(one: Process, seen: Observation) -> Iterator[str]:
    if one.error is None:
        yield f"{one.name} ended with exit code {one.code}, and said no error"
        return
    how = (one.error, one.code)
    if how in ALWAYS:
        if not seen.faults:
            yield f"{one.name} failed without a fault: {one.error}"
    elif not ONLY_BY.get(how, set()) & {Kind(kind) for kind in seen.faults}:
        yield f"{one.name} ended with {one.error}, exit code {one.code}, which none of the faults explains"


def _mended(seen: Observation) -> Iterator[str]:
    """Once all faults are over, both do what they are told."""
    for one in seen.mended:
        if one.code != 0 and not one.hung:
            yield f"{one.name} was started when all was well again, and ended with {one.error}, exit code {one.code}"


def _messages(seen: Observation) -> Iterator[str]:
    everybody = (*seen.processes, *seen.mended)
    for side in "ab":
        writers = [one for one in everybody if one.side == side]
        readers = [one for one in everybody if one.side != side]
        yield from _shown_to(readers, writers, seen)
        for round_of in (seen.processes, seen.mended):
            yield from _lost(
                [one for one in round_of if one.side != side],
                [one for one in round_of if one.side == side],
                has_one_session=seen.is_chat,
            )


def _ended_unheard(reader: Process, seen: Observation) -> bool:
    """Whether the other side may not know what it was shown at last, and say it again to who comes after it."""
    is_interrupted = reader.code == INTERRUPTED_CODE and reader.signalled is not None
    return reader.killed or (is_interrupted and bool({Kind(kind) for kind in seen.faults} & UNHEARD))


def _shown_to(readers: list[Process], writers: list[Process], seen: Observation) -> Iterator[str]:
    """Everything shown was written, in this order, and as often as it was written."""
    written = Counter(text for writer in writers for text in writer.wrote)
    shown = Counter(text for reader in readers for session in reader.shown for text in session)
    unheard = (reader for reader in readers if _ended_unheard(reader, seen))
    unknown_end = Counter(text for reader in unheard for session in reader.shown for text in session)
    for text, count in shown.items():
        if text not in written:
            yield f"{text!r} was shown, and never written"
        elif count - unknown_end[text] > written[text]:
            yield f"{text!r} was shown {count} times, and written {written[text]} times"
    orders = [writer.wrote for writer in writers]
    for reader in readers:
        for session in reader.shown:
            if session and not any(_is_run_of(session, order) for order in orders):
                yield f"{reader.name} was shown messages in another order than they were written, or not all: {session}"


def _is_run_of(session: tuple[str, ...], order: tuple[str, ...]) -> bool:
    if session[0] not in order:
        return False
    start = order.index(session[0])
    return order[start : start + len(session)] == session


def _lost(readers: list[Process], writers: list[Process], *, has_one_session: bool) -> Iterator[str]:
    """Who ended well was heard to the end, unless by somebody who was killed."""
    for writer in writers:
        if writer.code != 0 or writer.killed:
            continue
        heard = [reader for reader in readers if set(writer.wrote) & set(chain.from_iterable(reader.shown))]
        if has_one_session and heard and not any(reader.killed for reader in heard):
            listeners = heard
        elif any(reader.killed for reader in readers):
            continue
        else:
            listeners = readers
        shown = {text for reader in listeners for session in reader.shown for text in session}
        if missing := [text for text in writer.wrote if text not in shown]:
            yield f"{writer.name} ended well, and {len(missing)} of its messages were lost, the first {missing[0]!r}"


def _tree(tree: Arrived, seen: Observation) -> Iterator[str]:
    everybody = (*seen.processes, *seen.mended)
    senders = [one for one in everybody if one.side == tree.sender]
    receivers = [one for one in everybody if one.side != tree.sender]
    if not tree.copies:
        yield f"what {tree.sender} sent is not there"
    if tree.copies > len(senders):
        yield f"{len(senders)} processes of {tree.sender} left {tree.copies} copies of what they sent"
    if tree.parts > seen.faults.count(Kind.FILL_TARGET.value):  # what finds room arrives, and the rest is told
        yield f"only a part of what {tree.sender} sent is there, under a name of its own"
    if tree.strays:
        yield f"something else is there than {tree.sender} sent: {', '.join(tree.strays)}"
    if tree.staged:
        yield f"left behind: {', '.join(tree.staged)} of what {tree.sender} sent"
    for receiver in receivers:
        if any(count > 1 for count in receiver.received):
            yield f"{receiver.name} said more than once in a session that all is there"
