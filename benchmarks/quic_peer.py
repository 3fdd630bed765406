"""`p2p-peer` as it is, except that it punches no TCP: run by `benchmarks/transfer.py`.

On one machine TCP always comes up, and is preferred because it is faster. Here it counts as tried before and broken.
"""

from typing import Any

from p2p_core.proof import PathKind
from p2p_peer import attempt
from p2p_peer.cli.main import run_program
from p2p_peer.paths.base import Path
from p2p_peer.paths.race import race


async def race_without_tcp(*arguments: Any, without: frozenset[PathKind] = frozenset(), **options: Any) -> Path:
    """As `race`."""
    return await race(*arguments, without=without | {PathKind.TCP}, **options)


if __name__ == "__main__":
    attempt.race = race_without_tcp  # type: ignore[attr-defined]
    run_program()
