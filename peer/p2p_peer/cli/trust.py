"""`p2p-peer trust`: whom this user has met, by what names, and whose key was compared."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from p2p_core.errors import Interrupted, NotAuthenticated, PunchwireError, UsageError
from p2p_core.identity import PeerId
from p2p_core.printable import printable

from p2p_peer.cli.exit_codes import exit_code
from p2p_peer.cli.keys import ask_passphrase
from p2p_peer.cli.sentences import print_error
from p2p_peer.cli.signals import held_back, interrupting
from p2p_peer.cli.words_text import labelled
from p2p_peer.host_port import canonical
from p2p_peer.keyfiles import read_public_key
from p2p_peer.own_identity import default_key_path, kept_key
from p2p_peer.remembered import same_name
from p2p_peer.trust import KnownPeer, MediatorId, TrustStore

__all__ = ["trust"]

_SHORTEST_BEGINNING = 4  # characters of a peer id, 20 bits
_READ_ALOUD = "Read them to each other, on the phone. Are they the same?"
_FROM_ITS_OWNER = "Is that the id which its owner told you?"
_ANSWERS = {"y": True, "yes": True, "n": False, "no": False}


def trust(options: argparse.Namespace) -> int:
    """Do what is asked for, and return the exit code."""
    store = TrustStore(options.state_dir)
    try:
        done = _do(store, options)
        print(json.dumps(_object(store)) if options.json else "\n".join(map(printable, done)))
    except PunchwireError as error:
        if options.json:
            print(json.dumps({"event": "error", "code": error.code, "message": str(error), "advice": error.advice}))
        else:
            print_error(error)
        return exit_code(error)
    return 0


def _do(store: TrustStore, options: argparse.Namespace) -> Iterable[str]:
    """Do it; return the lines that say so."""
    match options.doing:
        case "list":
            return _table(store)
        case "name":
            return _name(store, options.who, options.name)
        case "verify":
            return _verify(store, options)
        case _:
            return _remove(store, options.who)


def _name(store: TrustStore, who: str, name: str) -> Sequence[str]:
    peer = _find(store, who)
    with held_back():
        store.rename(peer.id, name or None)
    return [f"{peer.id} is {name} from now on" if name else f"{peer.id} has no name any more"]


def _remove(store: TrustStore, who: str) -> Sequence[str]:
    """Forget a peer or a mediator. Where both are at one address, it stands for the mediator: a peer has an id."""
    if who in store.mediators():
        with held_back():
            store.forget_mediator(who)
        return [f"the mediator at {who} is forgotten"]
    peer = _find(store, who)
    with held_back():
        store.forget_peer(peer.id)
    return [f"the peer {_full_title(peer)} is forgotten"]


def _verify(store: TrustStore, options: argparse.Namespace) -> Sequence[str]:
    if (mediator := store.mediators().get(options.who)) is not None:
        return _verify_mediator(store, mediator, options)
    peer = _find(store, options.who)
    is_same = options.yes or _has_same_words(store, peer, options)
    with held_back():
        store.verify(peer.id, is_same)
    if not is_same:
        raise NotAuthenticated(
            f"the words are not the same, so the key of {_full_title(peer)} is not verified",
            advice=f"Somebody may be in between. To meet it anew: {store.command('remove', str(peer.id))}",
        )
    return [f"the key of {_full_title(peer)} is verified"]


def _verify_mediator(store: TrustStore, mediator: MediatorId, options: argparse.Namespace) -> Sequence[str]:
    """Have the id of a mediator compared. Nothing is noted: it is believed as long as its key stays the same."""
    if not options.yes:
        _show(options, options.who, f"  {mediator}")
        _check_terminal(options, "id is right", store.command("verify", "--yes", options.who))
    if not options.yes and not _answer(_FROM_ITS_OWNER):
        raise NotAuthenticated(
            f"the id of the mediator at {options.who} is not the one that its owner told",
            advice=f"Somebody may be in its place. To meet it anew: {store.command('remove', options.who)}",
        )
    return [f"the mediator at {options.who} is the right one"]


def _show(options: argparse.Namespace, *lines: str) -> None:
    """Show what is to be compared, also where nobody can be asked: `--yes` is for who has compared it."""
    if not options.json:
        print("\n".join(lines), flush=True)


def _check_terminal(options: argparse.Namespace, what: str, command: str) -> None:
    if options.json or not sys.stdin.isatty():
        raise UsageError(f"there is no terminal to ask whether the {what}", advice=f"Compare, and then: {command}")


def _has_same_words(store: TrustStore, peer: KnownPeer, options: argparse.Namespace) -> bool:
    """Show the words of both keys, and ask whether they are what the other side sees."""
    own = _own_id(options)
    words = labelled(_title(peer), peer.id) + ([] if own is None else labelled("you", own))
    _show(options, *(f"{label:<8}  {row}" for label, row in words))
    _check_terminal(options, "words are the same", store.command("verify", "--yes", str(peer.id)))
    return _answer(_READ_ALOUD)


def _answer(question: str) -> bool:
    while True:
        try:
            with interrupting():
                answer = input(f"{question} (yes/no) ").strip().lower()
        except EOFError:
            raise Interrupted("nothing was answered") from None
        if answer in _ANSWERS:
            return _ANSWERS[answer]
        print("please type yes or no")


def _own_id(options: argparse.Namespace) -> PeerId | None:
    """Return whose words the other side sees: those of the key that is given, or of the one kept for this user."""
    if options.key is not None:
        return PeerId.of(read_public_key(options.key, ask_passphrase))
    path = default_key_path(options.state_dir)
    return PeerId.of(kept_key(path, ask_passphrase).public_key()) if path.exists() else None


def _find(store: TrustStore, who: str) -> KnownPeer:
    """Return the peer that `who` stands for: a name, an address it was met at, a peer id, or the beginning of one."""
    peers, target = store.peers(), canonical(who)
    for peer in peers:
        if target in peer.targets or (peer.name is not None and same_name(peer.name, who)):
            return peer
    begins = [peer for peer in peers if str(peer.id).startswith(who.lower())]
    if len(who) < _SHORTEST_BEGINNING and begins:
        raise UsageError(
            f"{who!r} is too short for the beginning of a peer id",
            advice=f"Give at least {_SHORTEST_BEGINNING} characters of it.",
        )
    if not begins:
        if who in store.mediators():
            raise UsageError(
                f"{who} is a mediator: it can be verified or removed, and has no other name", advice=store.look
            )
        raise UsageError(f"nobody is remembered as {who!r}", advice=store.look)
    if len(begins) > 1:
        ids = ", ".join(str(peer.id) for peer in begins)
        raise UsageError(f"{who!r} is the beginning of {len(begins)} peer ids: {ids}", advice="Give more of it.")
    return begins[0]


def _object(store: TrustStore) -> dict[str, Any]:
    return {
        "peers": [
            {
                "peer": str(peer.id),
                "name": peer.name,
                "verified": peer.verified,
                "targets": list(peer.targets),
                "first_met": peer.first_met,
                "last_met": peer.last_met,
                "words": list(peer.id.words),
            }
            for peer in store.peers()
        ],
        "mediators": [{"target": target, "id": str(mediator)} for target, mediator in store.mediators().items()],
    }


def _table(store: TrustStore) -> Iterator[str]:
    peers, mediators = store.peers(), store.mediators()
    if not peers and not mediators:
        yield "nobody is remembered yet"
    if peers:
        rows = [
            (_title(peer), peer.id.short, "yes" if peer.verified else "no", _date(peer.first_met), _where(peer))
            for peer in peers
        ]
        yield from _columns([("peer", "id", "verified", "first met", "met at"), *rows])
    if peers and mediators:
        yield ""
    if mediators:
        yield "mediator"
        for target, mediator in mediators.items():
            yield target
            yield f"  {mediator}"  # whole, to be compared with what its owner says


def _columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip()


def _title(peer: KnownPeer) -> str:
    return peer.name or peer.id.short


def _full_title(peer: KnownPeer) -> str:
    return f"{peer.name} ({peer.id})" if peer.name else str(peer.id)


def _where(peer: KnownPeer) -> str:
    if not peer.targets:
        return "it came here"
    more = len(peer.targets) - 1
    return f"{peer.targets[0]} and {more} more" if more else peer.targets[0]


def _date(seconds: int) -> str:
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):  # from a clock that was wrong
        return "never"
