"""Files in a chat: those that are offered and not answered yet, and those that are under way, each with a number."""

import asyncio
import contextlib
import os
import shlex
from collections.abc import Callable, Collection
from functools import partial

from p2p_core.errors import PunchwireError, Refused

from p2p_peer.cli.acceptance import Acceptance, Ask
from p2p_peer.cli.console import Console
from p2p_peer.cli.human import shown_name
from p2p_peer.cli.offer_text import choice, item_lines, items_to_choose, left_out_lines, offer_title
from p2p_peer.events import SessionEvent, TransferBroken, TransferOffered, TransferReceived
from p2p_peer.session import Session
from p2p_peer.transfer.tree import STANDARD_INPUT, SendOptions, SourceTree

__all__ = ["ChatFiles"]


class ChatFiles:
    """Carries out what is typed about files."""

    def __init__(self, console: Console, terms: Acceptance, options: SendOptions, ask: Ask) -> None:
        """`terms`: how files are taken; `options`: what of folders is sent; `ask` is for what is there already."""
        self._console, self._terms, self._options, self._ask = console, terms, options, ask
        self._session: Session | None = None
        self._number = 0  # of the last transfer
        self._offers: dict[int, TransferOffered] = {}  # not answered yet
        self._receiving: dict[int, TransferOffered] = {}
        self._sending: dict[int, tuple[asyncio.Task[None], str]] = {}  # and what it is called
        self._answering: set[asyncio.Task[None]] = set()
        self._asks_for_number = False  # once an offer was taken back: another one may stand in its place

    @property
    def under_way(self) -> dict[int, str]:
        """What is sent and received, by number."""
        sending = {number: name for number, (_, name) in self._sending.items()}
        receiving = {number: offer_title(offered.manifest) for number, offered in self._receiving.items()}
        return sending | receiving

    @property
    def offers(self) -> dict[int, str]:
        """What is not answered yet, by number."""
        return {number: offer_title(offered.manifest) for number, offered in self._offers.items()}

    def begin(self, session: Session) -> None:
        """The other peer is there."""
        self._session = session

    def give_up(self) -> None:
        """Give up all that is under way."""
        for number in self.under_way:
            self._give_up(number)

    async def stop(self) -> None:
        """Wait for no more answers."""
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    def happened(self, event: SessionEvent) -> None:
        """Ask about offers; note what has become of those that were taken."""
        match event:
            case TransferOffered():
                self._number += 1
                self._offers[self._number] = event
                self._offered(self._number, event)
            case TransferReceived(transfer):
                self._forget(transfer)
            case TransferBroken(transfer):
                self._forget(transfer)
                offers = {n: offered for n, offered in self._offers.items() if offered.transfer != transfer}
                # Who typed /accept for that one must not take the next with it.
                self._asks_for_number = self._asks_for_number or len(offers) < len(self._offers)
                self._offers = offers

    # What is typed.

    def send(self, argument: str) -> None:
        """`/send PATH...`: offer files and folders, as one transfer."""
        paths = _paths(argument)
        if self._session is None:
            self._console.notice("nothing is sent: the other peer is not there yet")
        elif not paths:
            self._console.notice("which file or folder? /send PATH...")
        elif STANDARD_INPUT in paths:
            self._console.notice("standard input is where you type; a file of that name is ./-")
        else:
            self._number += 1
            name = shown_name(os.path.basename(paths[0].rstrip("/")) or paths[0])
            if len(paths) > 1:
                name += f" and {len(paths) - 1} more"
            task = asyncio.create_task(self._send_and_tell(self._session, paths, name))
            self._sending[self._number] = (task, name)
            task.add_done_callback(partial(self._sent, self._number))

    def accept(self, argument: str) -> None:
        """`/accept [N] [ITEMS]`: take what is offered, or some of it."""
        if (found := self._find(argument)) is None:
            return
        number, wanted = found
        offered, only = self._offers[number], None
        if wanted:
            only = choice(wanted, items_to_choose(offered.manifest))
            if only is None:
                self._console.notice(f"{wanted}: those are no numbers of what is offered")
                return
        self._take(number, only)

    def reject(self, argument: str) -> None:
        """`/reject [N]`: refuse what is offered."""
        if (found := self._find(argument)) is not None:
            offered = self._offers.pop(found[0])
            self._connected().refuse(offered)
            self._console.notice(f"refused {offer_title(offered.manifest)}")

    def cancel(self, argument: str) -> None:
        """`/cancel [N]`: give up what is under way."""
        under_way = self.under_way
        if not under_way:
            self._console.notice("nothing is under way")
        elif not argument and len(under_way) > 1:
            self._console.notice(f"which one? {_numbered(under_way)}")
        else:
            text = argument or str(next(iter(under_way)))
            number = next((number for number in under_way if str(number) == text), None)
            if number is None:
                self._console.notice(f"nothing is under way with the number {argument}")
            else:
                self._give_up(number)

    # The rest.

    def _connected(self) -> Session:
        assert self._session is not None
        return self._session

    def _offered(self, number: int, offered: TransferOffered) -> None:
        if self._terms.unasked:
            if objection := self._terms.objection(offered.manifest):
                del self._offers[number]
                self._connected().refuse(offered, objection)
                self._console.notice(f"refused {offer_title(offered.manifest)}: {objection}")
            else:
                self._take(number, None)
            return
        shown = f" {number}" if len(self._offers) > 1 or self._asks_for_number else ""
        some = f", /accept {number} 1,3-5 some of it" if item_lines(offered.manifest) else ""
        self._console.notice(f"/accept{shown} takes it{some}, /reject{shown} refuses it")

    def _find(self, argument: str) -> tuple[int, str] | None:
        """Return the number of the offer that is meant, and what else was typed; tell and return None for no offer."""
        first, _, rest = argument.partition(" ")
        if first and not first.isdecimal():
            first, rest = "", argument
        if not self._offers:
            self._console.notice("nothing is offered")
        elif not first and (len(self._offers) > 1 or self._asks_for_number):
            self._console.notice(f"which one? {_numbered(self.offers)}")
        else:
            text = first or str(next(iter(self._offers)))
            number = next((number for number in self._offers if str(number) == text), None)
            if number is not None:
                return number, rest.strip()
            self._console.notice(f"nothing is offered with the number {first}")
        return None

    def _take(self, number: int, only: Collection[int] | None) -> None:
        offered = self._offers.pop(number)
        if self._terms.overwrite is None:  # somebody has to be asked first
            task = asyncio.create_task(self._ask_and_accept(number, offered, only))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            self._accept(number, offered, partial(self._terms.accept, overwrite=self._terms.overwrite, only=only))

    async def _ask_and_accept(self, number: int, offered: TransferOffered, only: Collection[int] | None) -> None:
        overwrite = await self._terms.decide(offered.manifest, only, self._ask)
        if overwrite is not None and not self._connected().is_over:
            self._accept(number, offered, partial(self._terms.accept, overwrite=overwrite, only=only))

    def _accept(
        self, number: int, offered: TransferOffered, accept: Callable[[Session, TransferOffered], None]
    ) -> None:
        try:
            accept(self._connected(), offered)
        except PunchwireError as error:
            self._console.notice(str(error))
        else:
            self._receiving[number] = offered

    def _forget(self, transfer: int) -> None:
        self._receiving = {n: offered for n, offered in self._receiving.items() if offered.transfer != transfer}

    async def _send_and_tell(self, session: Session, paths: tuple[str, ...], name: str) -> None:
        try:
            await session.send(paths, self._options, offered=self._has_offered)
        except Refused as error:
            self._console.notice(str(error))
        except PunchwireError as error:
            is_named = any(str(error).startswith(f"{path} ") for path in paths)
            self._console.notice(f"not sent: {error}" if is_named else f"{name} was not sent: {error}")

    def _has_offered(self, tree: SourceTree) -> None:
        for line in left_out_lines(tree):
            self._console.notice(line)
        self._console.notice(f"offered {offer_title(tree.manifest)}; waiting for the other side to accept")

    def _sent(self, number: int, task: "asyncio.Task[None]") -> None:
        del self._sending[number]
        if not task.cancelled():
            task.result()

    def _give_up(self, number: int) -> None:
        if number in self._sending:
            task, name = self._sending[number]
            self._console.notice(f"{name} was not sent: you gave it up")
            task.cancel()
        else:
            offered = self._receiving.pop(number)
            self._connected().cancel(offered.transfer, "")


def _numbered(names: dict[int, str]) -> str:
    return ", ".join(f"{number} {name}" for number, name in names.items())


def _paths(argument: str) -> tuple[str, ...]:
    """Return the paths that were typed: one as it stands, or several quoted as for a shell, as what is dropped is."""
    if not argument or os.path.exists(_at_home(argument)):  # which fails for no path, however odd
        return (_at_home(argument),) if argument else ()
    words = [argument]
    with contextlib.suppress(ValueError):  # a quotation mark without another
        words = shlex.split(argument)
    return tuple(map(_at_home, words))


def _at_home(path: str) -> str:
    """Return `path` with the home folder in place of ~. Path.expanduser() raises where there is no such user."""
    return path if "\0" in path else os.path.expanduser(path)
