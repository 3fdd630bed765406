"""The examples are programs, and they work."""

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import World

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def test_hello(world: World, tmp_path: Path) -> None:
    where = [world.mediator.host, str(world.mediator.port)]
    started = []
    for own, other in ((world.alice, world.bob), (world.bob, world.alice)):
        argv = [sys.executable, EXAMPLES / "hello.py", *where, own.pair, other.public]
        environment = os.environ | {"XDG_STATE_HOME": str(tmp_path / own.peer.short)}
        started.append(
            world.programs.enter_context(subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, text=True))
        )
    said = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert said == [f"hello, {pair.peer.short}\n" for pair in (world.alice, world.bob)]
