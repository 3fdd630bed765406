"""What a session has begun in threads and must see through before it may end: a receipt is being filed, say."""

import asyncio
from collections.abc import Callable, Coroutine

__all__ = ["Unfinished"]


class Unfinished:
    """Tasks that are seen through, and what waits for that."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._held = 0
        self._afterwards: list[Callable[[], None]] = []

    def begin(self, work: Coroutine[None, None, None]) -> None:
        """Do `work`; what `afterwards` is given waits for it. It raises nothing that is meant for anybody."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def hold(self) -> None:
        """Something begins whose end `release` tells."""
        self._held += 1

    def release(self) -> None:
        """What `hold` was called for has come to its end."""
        self._held -= 1
        self._go_on()

    def afterwards(self, function: Callable[[], None]) -> None:
        """Call `function` once nothing is unfinished: now, if that is so."""
        self._afterwards.append(function)
        self._go_on()

    async def wait(self) -> None:
        """Wait until no task is left."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._go_on()
        if not task.cancelled():
            task.result()

    def _go_on(self) -> None:
        while self._afterwards and not self._tasks and not self._held:
            self._afterwards.pop(0)()
