"""Running the tests of a module on its mutants: each in a process of its own, in a copy of the project.

The processes are forks of this one, which has imported what is large and not ours: that is most of what a run costs.
"""

import gc
import importlib
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NoReturn

from tests.mutants.faults import Mutant, mutants

__all__ = ["ROOT", "Outcome", "TestsFail", "run"]

ROOT = Path(__file__).resolve().parent.parent.parent
_PACKAGES = ("proto", "core", "server", "peer")
_COPIED = (*_PACKAGES, "tests", "docs", "pyproject.toml")
_LARGE = ("pytest", "pytest_asyncio", "hypothesis", "cryptography.x509", "google.protobuf.message", "blake3")
_ROOM = 20  # times as long as without a fault; the machine may be busy
_LEAST_PATIENCE = 20.0  # s
_MEMORY = 1 << 30  # bytes that tests may have: a loop without an end often fills a list
_POLL = 0.01  # s


class Outcome(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMEOUT = "timeout"  # killed as well: the tests did not end
    SURVIVED = "survived"


class TestsFail(Exception):
    """They do so without any fault, so that they say nothing."""

    __test__ = False


@dataclass(frozen=True, slots=True)
class _Running:
    """Tests under way, and the copy in which that is."""

    folder: Path
    mutant: Mutant
    original: str
    deadline: float


def run(tests_of: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[Mutant, Outcome]]:
    """Try all mutants of these modules. Raises `TestsFail`."""
    for name in _LARGE:
        importlib.import_module(name)
    gc.freeze()
    with TemporaryDirectory(prefix="punchwire-mutants-") as place:
        free = [_copied(Path(place, str(number))) for number in range(os.cpu_count() or 1)]
        running: dict[int, _Running] = {}
        try:
            for path, tests in tests_of.items():
                patience = _patience(free[0], tests) if free else _LEAST_PATIENCE
                original = (free[0] / path).read_text()
                for mutant in mutants(path, original):
                    folder = free.pop()
                    (folder / path).write_text(mutant.source)
                    process = _begin(folder, tests)
                    running[process] = _Running(folder, mutant, original, time.monotonic() + patience)
                    while not free:
                        yield _next(running, free)
                while running:
                    yield _next(running, free)
        finally:
            for process in running:
                _end(process)


def _copied(folder: Path) -> Path:
    for name in _COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def _patience(folder: Path, tests: tuple[str, ...]) -> float:
    """Run the tests without a fault; return how long to wait for them with one, in s."""
    begun = time.monotonic()
    _, status = os.waitpid(_begin(folder, tests), 0)
    if status:
        raise TestsFail(f"{' '.join(tests)} fail without any fault")
    return max(_LEAST_PATIENCE, _ROOM * (time.monotonic() - begun))


def _next(running: dict[int, _Running], free: list[Path]) -> tuple[Mutant, Outcome]:
    """Wait until one has ended, and give its copy back as it was."""
    while True:
        for process, one in running.items():
            ended, status = os.waitpid(process, os.WNOHANG)
            is_late = not ended and time.monotonic() > one.deadline
            if ended or is_late:
                if is_late:
                    _end(process)
                del running[process]
                (one.folder / one.mutant.path).write_text(one.original)
                free.append(one.folder)
                outcome = Outcome.TIMEOUT if is_late else Outcome.KILLED if status else Outcome.SURVIVED
                return one.mutant, outcome
        time.sleep(_POLL)


def _end(process: int) -> None:
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)


def _begin(folder: Path, tests: tuple[str, ...]) -> int:
    """Run tests in a copy, in a process group of their own, which has the id that is returned."""
    process = os.fork()
    if process:
        os.setpgid(process, process)
        return process
    try:
        os.setpgid(0, 0)
        _test(folder, tests)
    finally:
        os._exit(1)


def _test(folder: Path, tests: tuple[str, ...]) -> NoReturn:
    import pytest

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    os.chdir(folder)
    sys.path[:] = [str(folder / name) for name in _PACKAGES] + [
        each for each in sys.path if each not in ("", str(ROOT))
    ]
    for name in [name for name in sys.modules if name.partition(".")[0] == "tests"]:
        del sys.modules[name]
    # A fault that is written within the second, and leaves the size as it was, is not seen behind a cached module.
    sys.dont_write_bytecode = True
    output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    quiet = ("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
    code = pytest.main(["-x", "-q", *quiet, "--hypothesis-seed=0", *tests])
    os._exit(int(code))
