"""The real mediator, in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from p2p_server.app import Mediator
from p2p_server.config import Config
from p2p_server.limits import Limits

__all__ = ["real_mediator"]


@asynccontextmanager
async def real_mediator(folder: Path, **changed: Any) -> AsyncIterator[Mediator]:
    config = Config(
        state_dir=folder / "mediator",
        authorized=None,
        host="127.0.0.1",
        port=0,
        stun_port=0,
        limits=Limits(stop_grace=0.05),
    )
    mediator = await Mediator.start(replace(config, **changed))
    try:
        yield mediator
    finally:
        await mediator.stop()
