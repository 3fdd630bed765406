"""The completions in share/, in the shells they are for: what is typed there, and what becomes of it."""

import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

SHARE = Path(__file__).parents[2] / "share"
PATIENCE = 30.0  # s for a shell to start, or to answer

# What is typed before the Tab key, and the word it ends with then.
TYPED = [
    ("p2p-peer --vers", "--version"),
    ("p2p-peer --mess", "--message"),
    ("p2p-peer --yes --mediator", "--mediator-id"),
    ("p2p-peer key", "keygen"),
    ("p2p-peer finger", "fingerprint"),
    ("p2p-peer netch", "netcheck"),
    ("p2p-peer trus", "trust"),
    ("p2p-peer trust rem", "remove"),
    ("p2p-peer trust verify bob --key bo", "bob.pem"),
    ("p2p-peer netcheck --no-port", "--no-port-mapping"),
    ("p2p-peer netcheck host.example 54700 --js", "--json"),
    ("p2p-peer host.example 54700 a.pem b.pem --relay", "--relay-only"),
    ("p2p-peer keygen --pass", "--passphrase"),
    ("p2p-peer keygen --bits 2048 ou", "outbox"),
    ("p2p-peer fingerprint bo", "bob.pem"),
    ("p2p-peer host.example 54700 my", "my key.pem"),
    ("p2p-peer --json host.example 54700 'my key.pem' bo", "bob.pem"),
    ("p2p-peer host.example 54700 a.pem b.pem --rece", "--receive"),
    ("p2p-peer host.example 54700 a.pem b.pem --message keygen --sta", "--state-dir"),
    ("p2p-peer --send my", "my key.pem"),
    ("p2p-peer --send=bo", "--send=bob.pem"),
    ("p2p-peer host.example 54700 a.pem b.pem --send one two bo", "bob.pem"),
    ("p2p-peer host.example 54700 a.pem b.pem --send one --ye", "--yes"),
    ("p2p-peer host.example 54700 a.pem b.pem --overwrite ren", "rename"),
    ("p2p-peer --receive ou", "outbox"),
    ("p2p-peer --receive --ye", "--yes"),
    ("p2p-peer host.example 54700 a.pem b.pem --state-dir ou", "outbox"),
    ("p2p-server auth", "authorize"),
    ("p2p-server --open --stun-p", "--stun-port"),
    ("p2p-server --log-level warn", "warning"),
    ("p2p-server --log-format=js", "--log-format=json"),
    ("p2p-server --tls-cert bo", "bob.pem"),
    ("p2p-server --authorized ou", "outbox"),
    ("p2p-server --port 1 authorize --auth", "--authorized"),
    ("p2p-server authorize a.pem bo", "bob.pem"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where it is typed: `ou` could be a folder or a file, `my` has a space."""
    here = tmp_path / "here"
    (here / "outbox").mkdir(parents=True)
    for name in ("output.txt", "my key.pem", "bob.pem"):
        (here / name).touch()
    return here


def needs(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    return found


class Terminal:
    """An interactive shell at a terminal, in which both programs print what they were called with."""

    def __init__(self, argv: list[str], folder: Path, **environment: str) -> None:
        self._master, slave = pty.openpty()
        clean = {"HOME": str(folder), "PATH": os.environ["PATH"], "TERM": "dumb", "LC_ALL": "C.UTF-8"}
        self._process = subprocess.Popen(
            argv, cwd=folder, env=clean | environment, stdin=slave, stdout=slave, stderr=slave, start_new_session=True
        )
        os.close(slave)
        self._said = ""
        self._wait("READY> ")

    def type(self, line: str) -> str:
        """Type `line`, press Tab and Enter; return the last word the program was called with then."""
        os.write(self._master, f"{line}\t".encode())
        os.write(self._master, b"\r")
        return re.findall(r"<([^<>]*)>", self._wait("<END>"))[-2]

    def close(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        os.close(self._master)

    def _wait(self, end: str) -> str:
        deadline = time.monotonic() + PATIENCE
        while end not in self._said:
            ready, _, _ = select.select([self._master], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {end!r} in {self._said!r}"
            self._said += os.read(self._master, 65536).decode(errors="replace")
        before, _, self._said = self._said.partition(end)
        return before + end


PROGRAMS = """
p2p-peer() { printf '<%s>' "$@"; printf '<END>\\n'; }
p2p-server() { printf '<%s>' "$@"; printf '<END>\\n'; }
PS1='READY> '
"""


@pytest.fixture
def bash(folder: Path, tmp_path: Path) -> Iterator[Terminal]:
    settings = tmp_path / "bashrc"
    files = SHARE / "bash-completion" / "completions"
    sources = [f"source {shlex.quote(str(files / name))}\n" for name in ("p2p-peer", "p2p-server")]
    settings.write_text("".join(sources) + PROGRAMS)
    terminal = Terminal([needs("bash"), "--noprofile", "--rcfile", str(settings), "-i"], folder)
    yield terminal
    terminal.close()


@pytest.fixture(params=["source", "fpath"])
def zsh(request: pytest.FixtureRequest, folder: Path, tmp_path: Path) -> Iterator[Terminal]:
    """Both ways to switch it on."""
    files = SHARE / "zsh" / "site-functions"
    compinit = f"autoload -Uz compinit; compinit -u -d {shlex.quote(str(tmp_path / 'zcompdump'))}\n"
    if request.param == "fpath":
        begin = f"fpath=({shlex.quote(str(files))} $fpath)\n{compinit}"
    else:
        sources = [f"source {shlex.quote(str(files / f'_{name}'))}\n" for name in ("p2p-peer", "p2p-server")]
        begin = compinit + "".join(sources)
    (tmp_path / ".zshrc").write_text(begin + PROGRAMS)
    terminal = Terminal([needs("zsh"), "-d", "-i"], folder, ZDOTDIR=str(tmp_path))
    yield terminal
    terminal.close()


def fish(line: str, folder: Path) -> list[str]:
    """What fish offers for `line`."""
    program = line.split(maxsplit=1)[0]
    file = SHARE / "fish" / "vendor_completions.d" / f"{program}.fish"
    script = f"source {shlex.quote(str(file))}; complete -C {shlex.quote(line)}"
    done = subprocess.run(
        [needs("fish"), "--no-config", "-c", script],
        cwd=folder,
        env={"HOME": str(folder), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stderr == ""
    return [offer.partition("\t")[0] for offer in done.stdout.splitlines()]


def test_bash(bash: Terminal) -> None:
    for line, word in TYPED:
        assert bash.type(line).rstrip("/") == word, line


def test_zsh(zsh: Terminal) -> None:
    for line, word in TYPED:
        assert zsh.type(line).rstrip("/") == word, line


def test_fish(folder: Path) -> None:
    for line, word in TYPED:
        assert [offer.rstrip("/") for offer in fish(line, folder)] == [word], line


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("p2p-peer --message ", []),
        ("p2p-peer keygen --", ["--help", "--bits", "--passphrase"]),
        ("p2p-peer host.example 54700 a.pem b.pem ", []),
        ("p2p-server --log-format ", ["text", "json"]),
        ("p2p-server authorize --", ["--help", "--authorized", "--state-dir"]),
    ],
)
def test_what_fish_offers_and_nothing_else(folder: Path, line: str, offered: list[str]) -> None:
    assert sorted(fish(line, folder)) == sorted(offered)


def test_bash_offers_nothing_where_anything_can_stand(bash: Terminal) -> None:
    assert bash.type("p2p-peer --message ") == "--message"
    assert bash.type("p2p-peer host.example 54700 a.pem b.pem ") == "b.pem"
