"""What was seen of a run, as plain data: what `judging` judges, and a test can make up."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2p_core.safe_names import STAGING_PREFIX

from tests.faults.running import Running
from tests.trees import contents

__all__ = ["Arrived", "Observation", "Process", "arrived", "process"]


@dataclass(frozen=True, slots=True)
class Process:
    """One process of a peer, after its end."""

    name: str  # the side, and which of its processes it was
    code: int  # as subprocess has it
    error: str | None = None  # the code of its event `error`
    killed: bool = False
    hung: bool = False  # it did not end within its deadline
    signalled: float | None = None  # s from a signal to its end, if there was one
    connected: bool = False
    wrote: tuple[str, ...] = ()  # what it was given to say
    shown: tuple[tuple[str, ...], ...] = ()  # what it was shown, for each session
    received: tuple[int, ...] = ()  # of each session, how often it said that all of a transfer is here
    garbage: tuple[str, ...] = ()  # on standard output
    errors: str = ""  # on standard error

    @property
    def side(self) -> str:
        return self.name[0]


@dataclass(frozen=True, slots=True)
class Arrived:
    """What came of the tree that a side has sent."""

    sender: str
    copies: int = 0  # the same, byte for byte
    parts: int = 0  # that have some of its entries, each as it is
    strays: tuple[str, ...] = ()  # what else is there
    staged: tuple[str, ...] = ()  # begun, and not done


@dataclass(frozen=True, slots=True)
class Observation:
    """All of it."""

    is_chat: bool
    faults: tuple[str, ...]  # kinds of those that really happened
    processes: tuple[Process, ...]
    mended: tuple[Process, ...] = ()  # those that were started when all faults were over, to do what was not done
    arrived: tuple[Arrived, ...] = ()
    left: tuple[str, ...] = ()  # sentences
    wrong: tuple[str, ...] = ()  # sentences on what else went wrong, such as a mediator's exit code
    timeline: tuple[str, ...] = field(default=(), compare=False)


def process(running: Running, wrote: tuple[str, ...]) -> Process:
    """Return what was seen of one that has ended, which was given `wrote` to say."""
    assert running.ended_at is not None
    errors = [event["code"] for event in running.events if event["event"] == "error"]
    code = running.process.returncode
    signalled = None if running.signalled_at is None else running.ended_at - running.signalled_at
    return Process(
        name=running.name,
        code=code,
        error=errors[-1] if errors else None,
        killed=running.killed,
        hung=running.hung,
        signalled=signalled,
        connected=running.said("connected"),
        wrote=tuple(running.written) if running.written else wrote,
        shown=_by_session(running.events, "message", "text"),
        received=tuple(len(one) for one in _by_session(running.events, "transfer_received", "event")),
        garbage=tuple(running.garbage if not running.killed else running.garbage[:-1]),
        errors=running.errors.read_text(errors="replace"),
    )


def _by_session(events: list[dict[str, Any]], kind: str, what: str) -> tuple[tuple[str, ...], ...]:
    sessions: list[list[str]] = []
    for event in events:
        if event["event"] == "connected":
            sessions.append([])
        elif event["event"] == kind:
            sessions[-1].append(event[what])
    return tuple(map(tuple, sessions))


def arrived(sender: str, tree: Path, inbox: Path) -> Arrived:
    """Look at what came of a tree; a copy may have another name, with a number."""
    wanted = contents(tree)
    copies, parts, strays, staged = 0, 0, [], []
    for entry in sorted(inbox.iterdir()) if inbox.exists() else ():
        if entry.name.startswith(STAGING_PREFIX):
            staged.append(entry.name)
        elif (found := contents(entry)) == wanted:
            copies += 1
        elif all(wanted.get(path) == what for path, what in found.items() if not (entry / path).is_dir()):
            parts += 1
        else:
            strays.append(entry.name)
    return Arrived(sender, copies, parts, tuple(strays), tuple(staged))
