"""The memory of both programs, and with it the keys in it, stays theirs."""

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import Programs, end, p2p_peer, p2p_server

# As a shell does it whose user collects cores.
_COLLECTING = ("sh", "-c", 'ulimit -c "$(ulimit -Hc)"; exec "$@"', "sh")
_SLEEPER = (sys.executable, "-u", "-c", "import time; print('ready'); time.sleep(1000)")
_SECRET = "correct horse battery staple"
# Root may read everything: so that it is like any other user, it gives up all it may do beyond that.
_ORDINARY = ("setpriv", "--bounding-set=-all", "--inh-caps=-all") if os.geteuid() == 0 else ()


def _program(name: str, folder: Path) -> list[str]:
    where = ("--state-dir", folder / "state")
    if name == "mediator":
        return p2p_server("--open", "--host", "127.0.0.1", "--port", "0", "--stun-port", "0", *where)
    return p2p_peer("direct", "-i", "127.0.0.1", "-p", "0", "-m", "2", "--json", *where)


def _started(programs: Programs, argv: "list[str] | tuple[str, ...]", folder: Path) -> subprocess.Popen[str]:
    """Start a program, and wait until it has said something: by then it has its keys."""
    environment = os.environ | {"P2P_PEER_PASSPHRASE": _SECRET}
    process = subprocess.Popen(
        argv, cwd=folder, env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    programs.callback(end, process)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def _dumps_core(process: subprocess.Popen[str]) -> bool:
    process.send_signal(signal.SIGABRT)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == -signal.SIGABRT
    return os.WCOREDUMP(status)


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_CORE)[1] == 0, reason="nobody may collect cores here")
@pytest.mark.parametrize("name", ["mediator", "peer"])
def test_a_program_that_dies_leaves_no_core(programs: Programs, tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    sleeper = _started(programs, (*_COLLECTING, *_SLEEPER), tmp_path)
    program = _started(programs, (*_COLLECTING, *_program(name, folder)), folder)
    assert not _dumps_core(program)
    assert {path.name for path in folder.iterdir()} == {"state"}
    if not _dumps_core(sleeper):
        pytest.skip("no program leaves a core here")


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc here")
@pytest.mark.parametrize("name", ["mediator", "peer"])
def test_another_process_of_the_same_user_cannot_look_into_it(programs: Programs, tmp_path: Path, name: str) -> None:
    def looked(process: subprocess.Popen[str], file: str) -> subprocess.CompletedProcess[str]:
        command = [*_ORDINARY, "cat", f"/proc/{process.pid}/{file}"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    sleeper = _started(programs, (*_ORDINARY, *_SLEEPER), tmp_path)
    program = _started(programs, (*_ORDINARY, *_program(name, tmp_path)), tmp_path)
    assert _SECRET in looked(sleeper, "environ").stdout
    for file in ("environ", "maps", "mem"):
        result = looked(program, file)
        assert (result.stdout, result.stderr.strip().endswith("Permission denied")) == ("", True)
