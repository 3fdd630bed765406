"""The examples are programs, and they work."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import World
from tests.programs import Keys

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


def run_hello(*arguments: str | Path) -> str:
    argv = [sys.executable, EXAMPLES / "hello.py", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_hello_says_how_it_is_called() -> None:
    assert "hello.py HOST PORT KEYPAIR PEERKEY" in run_hello()
    assert "Traceback" not in run_hello()


def test_hello_without_a_mediator(keys: tuple[Keys, Keys]) -> None:
    alice, bob = keys
    sentence, advice = run_hello("127.0.0.1", "1", alice.pair, bob.public).splitlines()
    assert sentence == "cannot reach a mediator at 127.0.0.1:1: Connection refused"
    assert "Ask the mediator's owner" in advice


def test_by_token(tmp_path: Path) -> None:
    started = []
    with contextlib.ExitStack() as stack:
        for name in ("one", "other"):
            environment = os.environ | {"XDG_STATE_HOME": str(tmp_path / name)}
            argv = [sys.executable, EXAMPLES / "by_token.py", "127.0.0.1"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
            started.append(stack.enter_context(subprocess.Popen(argv, env=environment, text=True, **pipes)))
        tokens = [process.stdout.readline() for process in started]
        for process, token in zip(started, reversed(tokens), strict=True):
            process.stdin.write(token)
            process.stdin.flush()
        said = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert all(line.startswith("hello, ") for line in said)
