"""All `Meet` streams of this instance: opened, counted, ended when a key is revoked, and when the mediator stops."""

import asyncio
import random
from collections.abc import AsyncIterator, Coroutine

import grpc
from p2p_core.identity import PeerId
from p2p_proto import mediator_pb2 as pb

from p2p_server import observed
from p2p_server.conversation import Conversation, Setting
from p2p_server.endings import Ending
from p2p_server.grpc_server import Service
from p2p_server.metrics import GONE, OK
from p2p_server.stream import Context, MeetStream, when_gone

__all__ = ["SERVICE", "MeetService"]

SERVICE = pb.DESCRIPTOR.services_by_name["Mediator"].full_name

_FIRST_RETRY = 1.0  # s
_RETURNS_PER_SECOND = 500  # of peers sent away together: a core proves more, but others come besides


class MeetService:
    """Takes a stream for each peer."""

    def __init__(self, setting: Setting, *, sees_addresses: bool) -> None:
        """Not `sees_addresses`: behind a proxy all peers come from one address, which is nobody's."""
        self._setting = setting
        self._sees_addresses = sees_addresses
        self._open: dict[MeetStream, Conversation] = {}
        self._forgetting: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self._emptied = asyncio.Event()

    def service(self) -> Service:
        """Return what gRPC calls. It hands over bytes, so that what does not parse is answered like any other fault."""
        return Service(SERVICE, {"Meet": grpc.stream_stream_rpc_method_handler(self.meet)})

    async def meet(self, _requests: AsyncIterator[bytes], context: Context) -> None:
        """Hold one conversation."""
        stream = MeetStream(context, self._setting.limits.outgoing_bytes, self._setting.limits.max_message)
        if self._is_stopping:
            await stream.refuse(Ending.SHUTTING_DOWN)
            return
        address = observed.from_grpc(context.peer()) if self._sees_addresses else None
        conversation = Conversation(self._setting, stream, address, self._in_background, self._return_in)
        self._open[stream] = conversation
        when_gone(conversation.place.give_back)
        try:
            await stream.run(conversation.hold(), conversation.over)
        finally:
            del self._open[stream]
            self._count(conversation, stream.outcome)
            if not self._open:
                self._emptied.set()

    @property
    def is_stopping(self) -> bool:
        """Whether no further stream is taken."""
        return self._is_stopping

    @property
    def peers(self) -> int:
        """How many peers are here that have proved their key."""
        return sum(conversation.peer is not None for conversation in self._open.values())

    @property
    def peers_waiting(self) -> int:
        """How many of them wait for another one."""
        return sum(conversation.is_waiting for conversation in self._open.values())

    @property
    def here(self) -> frozenset[PeerId]:
        """Whose streams are open, with a proved key."""
        return frozenset(each.peer for stream, each in self._open.items() if each.peer and not stream.is_over)

    def revoke(self, peers: frozenset[PeerId]) -> None:
        """End the streams of peers whose keys were taken away."""
        for conversation in list(self._open.values()):
            if conversation.peer in peers:
                conversation.revoke()

    async def drain(self, seconds: float) -> None:
        """Take no further stream, and end all: those of peers that were just matched last, or after `seconds`.

        Returns when all are over, or the time is. Peers are told to come again, not all of them in one moment.
        """
        self._is_stopping = True
        until = self._setting.clock.now() + seconds
        for conversation in list(self._open.values()):
            conversation.shut_down(until)
        timer = self._setting.clock.call_at(until, self._emptied.set)
        if self._open:
            self._emptied.clear()
            await self._emptied.wait()
        timer.cancel()

    def stop(self) -> None:
        """End all streams, and every further one."""
        self._is_stopping = True
        for stream in self._open:
            stream.end(Ending.SHUTTING_DOWN)

    def _count(self, conversation: Conversation, outcome: str) -> None:
        metrics = self._setting.metrics
        metrics.ended("meet", outcome)
        if conversation.peer is None:
            metrics.refused(GONE if outcome == OK else outcome)

    def _return_in(self) -> float:
        """Return when one of all who are here is to come again (s), so that not all of them do in one moment."""
        return _FIRST_RETRY + random.uniform(0, len(self._open) / _RETURNS_PER_SECOND)  # noqa: S311 – no secret

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._forgetting.add(task)
        task.add_done_callback(self._forgetting.discard)
