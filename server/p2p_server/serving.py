"""A mediator as a process: it serves until it is told to stop.

SIGTERM or SIGINT: take no more peers, let those that are just meeting go on for a while, and end; a second one ends the
process at once. SIGHUP: look at the certificate and the authorized keys now, which happens once a second anyway.
"""

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from dataclasses import replace

from p2p_core.allocator import keep_freed_memory

from p2p_server import descriptors
from p2p_server.app import Listening, Mediator
from p2p_server.config import Config
from p2p_server.garbage import collect_rarely
from p2p_server.logs import fields
from p2p_server.stun_ports import warn_of_unknown

__all__ = ["serve"]

_LOOK_EACH = 1.0  # s; whoever is removed is gone within it

_log = logging.getLogger(__name__)


async def serve(config: Config, announce: Callable[[Listening], None]) -> None:
    """Run a mediator until SIGTERM or SIGINT; `announce` where, once it listens. Raises `UsageError`."""
    loop = asyncio.get_running_loop()
    told_to_stop, told_to_look = loop.create_future(), asyncio.Event()

    def on_stop() -> None:
        if not told_to_stop.done():  # two signals may come in one moment
            told_to_stop.set_result(None)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    loop.add_signal_handler(signal.SIGHUP, told_to_look.set)  # early: without it the process would end
    collect_rarely()
    if config.limits.relay:
        keep_freed_memory()
    limits = descriptors.fit(config.limits, stun=config.stun, files=descriptors.raise_limit())
    mediator = await Mediator.start(replace(config, limits=limits))
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop)
    announce(mediator.listening)
    background = asyncio.gather(warn_of_unknown(config.stun_server), _look(mediator, told_to_look))
    await asyncio.wait((background, told_to_stop), return_when=asyncio.FIRST_COMPLETED)
    _log.info("draining", extra=fields(event="draining", seconds=config.drain_seconds))
    await mediator.drain(config.drain_seconds)  # whose key is removed is gone within a second meanwhile, too
    background.cancel()
    (ended,) = await asyncio.gather(background, return_exceptions=True)
    _log.info("stopping", extra=fields(event="stopping"))
    await mediator.stop()
    _log.info("stopped", extra=fields(event="stopped"))
    if isinstance(ended, Exception):  # keys that nobody looks at any more may be anybody's
        raise ended


async def _look(mediator: Mediator, told: asyncio.Event) -> None:
    """Look at what may have changed, each second and when told to."""
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), _LOOK_EACH)
        thoroughly = told.is_set()
        told.clear()
        if thoroughly:
            _log.info("told to look at the certificate and the authorized keys", extra=fields(event="reloading"))
        look = asyncio.create_task(mediator.look(thoroughly=thoroughly))
        try:
            await asyncio.shield(look)
        finally:  # an exchange of the certificate is never left half done
            await asyncio.wait((look,))
