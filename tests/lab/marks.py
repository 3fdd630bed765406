"""Runs the tests marked `netns` wherever a lab can be built, and says by name which ones were left out, and why.

    @pytest.mark.netns                needs a lab
    @pytest.mark.netns("delay")       and delay or loss on its links
    @pytest.mark.netns("openssl")     and a program

What happens follows `rootless.availability`:

    root     the tests run like any others
    userns   they run in a second pytest inside a user namespace, started once for all of them. Here each is replaced by
             a stand-in of the same name, which waits for its result and repeats it, so that selection, order, reports
             and -x work as ever. (Running all of pytest in there would make every other test run as "root" too; one
             test that runs all the others would hide their names.)
    none     they are skipped, each by name with the reason

Where the environment says CI=true, a skip is a failure instead: what was promised to be tested is tested.
A conftest.py calls `install` from its pytest_configure; calling it from several does no harm.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

import pytest

from tests.lab import link, rootless
from tests.lab.netns import LabError, tool

MARK = "netns"
PLUGIN = "punchwire-lab-marks"
RESULTS = "PUNCHWIRE_LAB_RESULTS"  # environment variable: file descriptor the pytest inside writes its results to
GRACE = 30.0  # s for the pytest inside to take its labs down when it is told to stop
LOG_TAIL = 8000  # characters of the inner pytest's output that are shown when it dies


def install(config: pytest.Config) -> None:
    """Makes pytest treat the mark as described above."""
    if not config.pluginmanager.has_plugin(PLUGIN):
        config.pluginmanager.register(_Marks(config), PLUGIN)


class _Marks:
    """The pytest hooks of the outer pytest, and of the one inside."""

    def __init__(self, config: pytest.Config) -> None:
        self._results = int(os.environ.get(RESULTS, "-1"))
        self._inner = _InnerPytest(config.rootpath)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Replaces or skips what cannot run in this process; comes after -k and -m have made their choice."""
        for index, item in enumerate(items):
            if item.get_closest_marker(MARK) is None:
                continue
            if rootless.availability().mode == "userns":
                assert item.parent is not None
                self._inner.wanted.append(item.nodeid)
                items[index] = _StandIn.from_parent(item.parent, name=item.name, real=item, inner=self._inner)
            elif (reason := _obstacle(item)) and not _skips_are_failures():
                item.add_marker(pytest.mark.skip(reason=f"{item.name}: {reason}"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if isinstance(item, _StandIn) or not _skips_are_failures():
            return
        if reason := _obstacle(item):
            pytest.fail(f"{item.name} would be skipped, and CI allows no skips: {reason}", pytrace=False)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if self._results >= 0:
            os.write(self._results, f"{json.dumps(_result(report))}\n".encode())

    def pytest_unconfigure(self) -> None:
        self._inner.stop()


def _obstacle(item: pytest.Item) -> str:
    """Why a test cannot run in this process; empty when it can, or has no mark."""
    marks = list(item.iter_markers(MARK))
    if not marks:
        return ""
    found = rootless.availability()
    if found.mode == "none":
        return found.reason
    for need in (need for mark in marks for need in mark.args):
        if need == "delay":
            if reason := link.unavailable():
                return reason
            continue
        try:
            tool(need)
        except LabError as error:
            return str(error)
    return ""


def _skips_are_failures() -> bool:
    return os.environ.get("CI") == "true"


def _result(report: pytest.TestReport) -> dict[str, str]:
    """What is told about one phase (setup, call, teardown) of one test."""
    if isinstance(report.longrepr, tuple):  # a skip: file, line, reason
        text = report.longrepr[2].removeprefix("Skipped: ")
    elif hasattr(report, "wasxfail"):
        text = f"expected to fail: {report.wasxfail}"
    else:
        sections = [f"{f' {title} ':-^80}\n{content}" for title, content in report.sections]
        text = "\n".join([report.longreprtext, *sections])
    return {"test": report.nodeid, "when": report.when, "outcome": report.outcome, "text": text}


class _StandIn(pytest.Item):
    """A test that runs elsewhere: waits for its result and repeats it."""

    def __init__(self, *, real: pytest.Item, inner: "_InnerPytest", **other: Any) -> None:
        super().__init__(**other)
        self._real = real
        self._inner = inner
        self.own_markers = [mark for mark in real.own_markers if mark.name == MARK]

    def runtest(self) -> None:
        failures = []
        for result in self._inner.results_of(self.nodeid):
            if result["outcome"] == "skipped":
                pytest.skip(result["text"])
            if result["outcome"] == "failed":
                failures.append(result["text"])
        if failures:
            raise _FailedInside("\n".join(failures))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **options: Any) -> Any:
        if isinstance(excinfo.value, _FailedInside):
            return str(excinfo.value)
        return super().repr_failure(excinfo, *args, **options)

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self._real.reportinfo()


class _FailedInside(Exception):
    """A test failed in the pytest inside; the text is its report."""


class _InnerPytest:
    """The pytest inside the user namespace, started when the first result is asked for."""

    def __init__(self, root: Path) -> None:
        self.wanted: list[str] = []
        self._root = root
        self._process: subprocess.Popen[bytes] | None = None
        self._results: IO[str] | None = None
        self._log: IO[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._known: dict[str, list[dict[str, str]]] = {}

    def results_of(self, test: str) -> list[dict[str, str]]:
        """Waits for all phases of a test; fails with the output of the pytest inside when that ends before."""
        if self._process is None:
            self._start()
        assert self._results is not None
        while not any(result["when"] == "teardown" for result in self._known.get(test, [])):
            line = self._results.readline()
            if not line:
                raise _FailedInside(f"the pytest inside the user namespace never reported this test\n{self._tail()}")
            result = json.loads(line)
            self._known.setdefault(result["test"], []).append(result)
        return self._known[test]

    def stop(self) -> None:
        """Ends the pytest inside if it still runs, as Ctrl-C would: it takes its labs down."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thing in (self._results, self._log):
            if thing is not None:
                thing.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _start(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="punchwire-lab-")
        self._log = open(Path(self._folder.name, "log"), "w+b")  # noqa: SIM115 - closed by `stop`
        reading, writing = os.pipe()
        self._results = open(reading, encoding="utf-8")  # noqa: SIM115 - closed by `stop`
        options = ["-p", "no:cacheprovider", f"--basetemp={self._folder.name}/tmp", f"--rootdir={self._root}"]
        try:
            self._process = subprocess.Popen(
                rootless.command([sys.executable, "-m", "pytest", *options, *self.wanted]),
                cwd=self._root,
                env={**os.environ, RESULTS: str(writing)},
                pass_fds=[writing],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
            )
        finally:
            os.close(writing)

    def _tail(self) -> str:
        assert self._log is not None
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-LOG_TAIL:]
