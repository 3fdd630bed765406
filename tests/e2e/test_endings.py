"""How `p2p-peer` ends when it is ended, at whatever moment, and what the other side gets to know of it.

A hundred random moments of a transfer, on either side, the same in every run. PUNCHWIRE_SEED=random chooses new ones;
a failure names the seed that repeats them.
"""

import os
import pty
import random
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from p2p_core.identity import load_key_pair, load_public_key
from p2p_core.safe_names import STAGING_PREFIX

from tests.counted import Counted, counting, counting_argv
from tests.e2e.conftest import World
from tests.programs import PATIENCE, Keys, Peer, ProgramFailed, Programs, end, p2p_peer
from tests.seed import SEED

MOMENTS = 100
MEETS_WITHIN = 0.3  # s; a side that has not met the other one by then is not waited for
INTERRUPTED = 130
LINUX = sys.platform == "linux"

# What the other side says first, and how long after that (s) the moment is at most: as long as the stage lasts.
STAGES = (
    *([((), 0.6)] if LINUX else []),  # from our first instruction on: imports, keys, the mediator
    (("waiting",), 0.3),
    (("matched",), 0.1),
    (("connected",), 0.05),
    (("transfer_progress",), 0.02),
    (("transfer_received", "transfer_sent"), 0.05),
    (("closed",), 0.05),
)
FLOWING = (("transfer_progress",), 0.3)
# A file that is gone in a moment, so that its end is hit, and one that takes longer than anybody waits here.
SIZES = (3 * 2**20 + 5, 8 * 2**30)
MIDDLING, SOME = 12 * 2**20 + 5, 3 * 2**20  # bytes: a file, and what of it has come when its transfer is interrupted
SLOWLY = ("--limit-rate", "16M")


class Ended:
    """The side that is ended: `p2p-peer` for people, in a pipe or at a terminal of its own."""

    def __init__(self, argv: list[str], folder: Path, *, at_terminal: bool, cwd: Path | None = None) -> None:
        self._output, self._keyboard = folder / "said", -1
        if at_terminal:
            # The kernel sends signals of a terminal to those whose own one it is; `login_tty` sees to that.
            takes_terminal = "import os, sys; os.login_tty(0); os.execv(sys.argv[1], sys.argv[1:])"
            self._keyboard, terminal = pty.openpty()
            self.process = subprocess.Popen(
                [sys.executable, "-S", "-c", takes_terminal, *argv],
                stdin=terminal,
                cwd=cwd,
                env=os.environ | {"TERM": "xterm"},
            )
            os.close(terminal)
        else:
            with self._output.open("wb") as output:
                self.process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
                )

    def is_listening(self) -> bool:
        """Whether it has begun to hear signals: before that, it is Python that starts."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

    def type(self, keys: bytes) -> None:
        os.write(self._keyboard, keys)

    def hang_up(self) -> None:
        os.close(self._keyboard)
        self._keyboard = -1

    def shows(self, text: str) -> None:
        """Wait until it has said this at its terminal."""
        said = b""
        while text.encode() not in said:
            assert select.select((self._keyboard,), (), (), PATIENCE)[0], said
            said += os.read(self._keyboard, 65536)

    def echoes(self) -> bool:
        """Whether its terminal shows what is typed."""
        return bool(termios.tcgetattr(self._keyboard)[3] & termios.ECHO)

    def said(self) -> str:
        """All that it has said; nothing, when nobody was left to hear it."""
        if self._keyboard < 0:
            return self._output.read_text() if self._output.exists() else ""
        data = b""
        try:
            while chunk := os.read(self._keyboard, 65536):
                data += chunk
        except OSError:  # EIO: the last process has closed the terminal
            pass
        self.hang_up()
        return data.decode()


ENDINGS: dict[str, Callable[[Ended], None]] = {
    "ctrl-c": lambda ended: ended.type(b"\x03"),
    "terminate": lambda ended: ended.process.terminate(),
    "hang-up": lambda ended: ended.process.send_signal(signal.SIGHUP),
    "closed-terminal": lambda ended: ended.hang_up(),
}


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One mediator for all rounds: what one leaves behind meets the next."""
    folder = tmp_path_factory.mktemp("arena")
    keys = Keys.make(folder / "alice"), Keys.make(folder / "bob")
    with Programs() as programs:
        yield World(programs, programs.mediator(folder / "mediator", keys), *keys)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("files")
    files = [folder / f"{size}.bin" for size in SIZES]
    files[0].write_bytes(os.urandom(SIZES[0]))
    with files[1].open("wb") as large:
        large.truncate(SIZES[1])  # sparse
    return files


@pytest.fixture(scope="module")
def middling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is not gone in a moment, and yet sent in a few."""
    path = tmp_path_factory.mktemp("middling") / "middling.bin"
    path.write_bytes(os.urandom(MIDDLING))
    return path


@pytest.mark.parametrize("number", range(MOMENTS))
def test_ended_at_a_random_moment(arena: World, files: list[Path], tmp_path: Path, number: int) -> None:
    chance = random.Random(f"{SEED} {number}")
    ending = list(ENDINGS)[number % len(ENDINGS)]
    sends = bool(number // len(ENDINGS) % 2)
    (said, at_most), file = chance.choice([*((stage, files[0]) for stage in STAGES), (FLOWING, files[1])])
    delay = chance.uniform(0, at_most)
    at_terminal = ending in ("ctrl-c", "closed-terminal")
    chats = at_terminal and not sends and chance.choice((True, False))
    who = "sender" if sends else "chat that receives" if chats else "receiver"
    print(f"PUNCHWIRE_SEED={SEED}: {ending} of the {who} of {file.name}, {delay:.3f} s after {said}")
    a_round = _Round(arena, file, tmp_path, sends=sends, chats=chats, at_terminal=at_terminal)
    try:
        a_round.wait_until(said)
        time.sleep(delay)  # the moment
        a_round.end_it(ENDINGS[ending])
    finally:
        a_round.stop()


# Other ways to go.


@pytest.mark.parametrize(("ending", "who"), tuple(zip(ENDINGS, ("sender", "receiver") * 2, strict=True)))
def test_what_was_ended_in_the_middle_goes_on(
    arena: World, middling: Path, tmp_path: Path, ending: str, who: str
) -> None:
    """Both sides end; both are started again, and nothing is sent again that has been verified."""
    under_way = _UnderWay(arena, middling, tmp_path)
    peer = under_way.start("receiver" if who == "sender" else "sender")
    ended = under_way.start_to_end(who, at_terminal=ending in ("ctrl-c", "closed-terminal"))
    under_way.wait_for_some(peer)
    ENDINGS[ending](ended)
    try:
        assert ended.process.wait(PATIENCE) == INTERRUPTED
        assert peer.exit_code() == 8
        said = peer.wait_for("error")["message"]
        assert said.startswith("the other side")
        assert "silent" not in said  # it was told
    finally:
        end(ended.process)
        assert "Traceback" not in ended.said()
    under_way.check_interrupted()
    sender, receiver = under_way.start("sender"), under_way.start("receiver")
    assert (sender.exit_code(), receiver.exit_code()) == (0, 0)
    under_way.check_done(sender)


def test_stopped_for_a_moment_it_goes_on(arena: World, files: list[Path], tmp_path: Path) -> None:
    alice = arena.start_alice("--send", files[0], process_group=0)  # a job of its own, as a shell makes it
    bob = arena.start_bob("--receive", tmp_path, "--yes")
    alice.wait_for("connected")
    alice.process.send_signal(signal.SIGTSTP)
    if LINUX:
        _wait_until(lambda: alice.process.poll() is not None or _state_of(alice.process.pid) == "T")
    alice.process.send_signal(signal.SIGCONT)
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)
    assert (tmp_path / files[0].name).read_bytes() == files[0].read_bytes()


@pytest.fixture
def unread(arena: World) -> Iterator[tuple[Peer, subprocess.Popen[str]]]:
    """A side that talks, and one whose output is a pipe that nobody reads, and full."""
    talker = arena.start_alice(stdin=subprocess.PIPE)
    read_end, write_end = os.pipe()
    where = [arena.mediator.host, str(arena.mediator.port), arena.bob.pair, arena.alice.public]
    silent = subprocess.Popen(
        p2p_peer(*where, "--state-dir", arena.bob.folder / "state"),
        stdin=subprocess.PIPE,
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert talker.process.stdin is not None
    talker.process.stdin.write("\n".join("x" * 60_000 for _ in range(8)) + "\n")
    talker.process.stdin.flush()
    _wait_until(lambda: not select.select((), (write_end,), (), 0)[1])
    yield talker, silent
    end(silent)
    os.close(read_end)
    os.close(write_end)


def test_an_output_that_nobody_reads_holds_nothing_back(unread: tuple[Peer, subprocess.Popen[str]]) -> None:
    talker, silent = unread
    silent.terminate()
    assert silent.wait(PATIENCE) == INTERRUPTED
    assert talker.exit_code(PATIENCE) == 6
    assert silent.stderr is not None
    assert silent.stderr.read().endswith("p2p-peer: interrupted\n")


def test_a_second_signal_does_not_wait_for_an_orderly_end(unread: tuple[Peer, subprocess.Popen[str]]) -> None:
    talker, silent = unread
    silent.terminate()
    silent.send_signal(signal.SIGINT)
    assert silent.wait(PATIENCE) == INTERRUPTED
    assert talker.exit_code(PATIENCE) == 6
    assert silent.stderr is not None
    assert silent.stderr.read().endswith("p2p-peer: interrupted\n")


def test_a_reader_that_has_read_enough(arena: World, tmp_path: Path) -> None:
    """As in `p2p-peer … | head -1`."""
    talker = arena.start_alice(stdin=subprocess.PIPE)
    where = [arena.mediator.host, str(arena.mediator.port), arena.bob.pair, arena.alice.public]
    argv = p2p_peer(*where, "--state-dir", arena.bob.folder / "state", "--json")
    with (tmp_path / "errors").open("wb") as errors:
        reader = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
    assert reader.stdout is not None
    assert reader.stdout.readline() == '{"event": "waiting"}\n'
    reader.stdout.close()
    assert reader.wait(PATIENCE) == 1
    assert talker.exit_code(PATIENCE) == 6
    end(reader)
    assert (tmp_path / "errors").read_text() == ""


# Keys.


@pytest.mark.skipif(not LINUX, reason="needs /proc")
@pytest.mark.parametrize("number", range(10))
def test_a_key_pair_is_made_whole_or_not_at_all(tmp_path: Path, number: int) -> None:
    delay = random.Random(f"{SEED} key {number}").uniform(0, 0.4)
    print(f"PUNCHWIRE_SEED={SEED}: {delay:.3f} s")
    making = Ended(p2p_peer("keygen", tmp_path / "keys", "--bits", "2048"), tmp_path, at_terminal=False)
    _wait_until(making.is_listening)
    time.sleep(delay)
    making.process.terminate()
    code = making.process.wait(PATIENCE)
    made = sorted(path.name for path in (tmp_path / "keys").glob("*"))
    assert made in ([], ["key.pem", "public.pem"])
    assert code == 0 if "peer id" in making.said() else code in (0, INTERRUPTED)
    if made:
        pair = load_key_pair((tmp_path / "keys" / "key.pem").read_bytes())
        assert load_public_key((tmp_path / "keys" / "public.pem").read_bytes()) == pair.public_key()
    else:
        assert code == INTERRUPTED


def test_a_passphrase_that_is_not_given_leaves_the_terminal_as_it_was(tmp_path: Path) -> None:
    asking = Ended(p2p_peer("keygen", tmp_path / "keys", "--passphrase"), tmp_path, at_terminal=True)
    asking.shows("new passphrase: ")
    assert not asking.echoes()
    asking.type(b"\x03")
    assert asking.process.wait(PATIENCE) == INTERRUPTED
    assert asking.echoes()
    assert "Traceback" not in asking.said()
    assert not (tmp_path / "keys").exists()


class _Round:
    """A transfer between one side that is ended and the other, and what must hold of both."""

    def __init__(self, arena: World, file: Path, folder: Path, *, sends: bool, chats: bool, at_terminal: bool) -> None:
        self._arena, self._file, self._inbox = arena, file, folder / "inbox"
        self._inbox.mkdir()
        self._sockets = _sockets_of(arena.mediator.process.pid)
        sending, receiving = ["--send", file], ["--receive", self._inbox, "--yes"]
        own, other, mediator = arena.alice, arena.bob, arena.mediator
        where = [mediator.host, str(mediator.port), own.pair, other.public, "--state-dir", own.folder / "state"]
        job = sending if sends else ["--yes", "--mediator-id", mediator.id] if chats else receiving
        self._ended = Ended(p2p_peer(*where, *job), folder, at_terminal=at_terminal, cwd=self._inbox)
        self._other_receives, self._other_is_stopped = sends, False
        self._errors = folder / "errors"
        with self._errors.open("wb") as errors:
            self._other = Peer.start(
                "the other side",
                arena.mediator,
                other,
                own,
                *(receiving if sends else sending),
                stderr=errors,
                start_new_session=True,
            )

    def wait_until(self, said: tuple[str, ...]) -> None:
        """Wait until the other side has said one of these, or ends; or until the one to be ended hears signals."""
        if LINUX:
            _wait_until(self._ended.is_listening)
        for kind in said:
            try:
                self._other.wait_for(kind)
            except ProgramFailed:
                continue
            return

    def end_it(self, ending: Callable[[Ended], None]) -> None:
        """End the one side, and look at everything."""
        was_over = self._ended.process.poll() is not None
        ending(self._ended)
        code = self._ended.process.wait(PATIENCE)
        other_code = self._other_ended()
        stored = self._stored()
        said = self._ended.said()
        print(f"{code}, the other side {other_code}, stored {stored}\n{said}\n{self._other.events}")

        assert "Traceback" not in said
        assert code == 0 if was_over else code in (0, INTERRUPTED)
        assert stored or code != 0
        assert self._errors.read_text() == ""
        self._check_other(other_code, stored, said)
        for pid in (self._ended.process.pid, self._other.process.pid):
            _wait_until(lambda pid=pid: not _lives(pid))
        _wait_until(lambda: _sockets_of(self._arena.mediator.process.pid) == self._sockets)

    def stop(self) -> None:
        end(self._ended.process)
        self._ended.said()
        self._other.stop()

    def _other_ended(self) -> int:
        """Return the other side's exit code. It ends by itself, but for somebody it never met, or lost, it waits on."""
        other, began = self._other, time.monotonic()
        while other.process.poll() is None:
            waited = time.monotonic() - began
            assert waited < PATIENCE, other.events
            if other.first("session_lost") or (other.first("matched") is None and waited > MEETS_WITHIN):
                other.process.terminate()
                self._other_is_stopped = True
                break
            time.sleep(0.01)
        return other.exit_code()

    def _stored(self) -> bool:
        """Whether the file is there, whole; and nothing else is but what is there to be resumed."""
        found = [path for path in self._inbox.iterdir() if not path.name.startswith(STAGING_PREFIX)]
        if not found:
            return False
        assert found == [self._inbox / self._file.name]
        assert found[0].stat().st_size == self._file.stat().st_size == SIZES[0]
        assert found[0].read_bytes() == self._file.read_bytes()
        return True

    def _check_other(self, code: int, stored: bool, said: str) -> None:
        if self._other.first("session_lost") is not None:
            assert "connected to" not in said  # else it would have said farewell
        if code == 0:
            assert stored
        elif code == INTERRUPTED:
            assert self._other_is_stopped
        else:
            assert not (stored and self._other_receives)
            error = self._other.wait_for("error")
            assert error["message"]
            if self._other.first("connected") is not None:
                assert (code, error["code"]) in ((8, "transfer-failed"), (7, "refused"))
                assert "silent" not in error["message"]  # it was told
            else:
                assert (code, error["code"]) in ((6, "no-path"), (6, "connection-lost"))


class _UnderWay:
    """A transfer that is interrupted in its middle and goes on: what is sent and verified is counted."""

    def __init__(self, arena: World, file: Path, folder: Path) -> None:
        self._arena, self._file, self._folder, self._inbox = arena, file, folder, folder / "inbox"
        self._jobs = {
            "sender": (arena.alice, arena.bob, ("--send", file, *SLOWLY)),
            "receiver": (arena.bob, arena.alice, ("--receive", self._inbox, "--yes")),
        }
        self._counted = Counted(tuple(folder / f"{name}.log" for name in self._jobs))

    def start(self, name: str) -> Peer:
        """Start a side as programs do."""
        own, other, job = self._jobs[name]
        start = counting(self._folder / f"{name}.log")
        return self._arena.programs.peer(name, self._arena.mediator, own, other, *job, start=start)

    def start_to_end(self, name: str, *, at_terminal: bool) -> Ended:
        """Start a side as people do."""
        own, other, job = self._jobs[name]
        mediator = self._arena.mediator
        where = (mediator.host, str(mediator.port), own.pair, other.public, "--state-dir", own.folder / "state")
        return Ended(
            counting_argv(self._folder / f"{name}.log", p2p_peer(*where, *job)), self._folder, at_terminal=at_terminal
        )

    def wait_for_some(self, peer: Peer) -> None:
        """Wait until some of the file is verified, and some is not."""
        peer.wait_for("transfer_progress")

        def is_some_there() -> bool:
            self._counted.read()
            return self._counted.verified_bytes >= SOME

        _wait_until(is_some_there)

    def check_interrupted(self) -> None:
        """Nothing is in the inbox but what is to go on."""
        [kept] = self._inbox.iterdir()
        assert kept.name.startswith(STAGING_PREFIX)

    def check_done(self, sender: Peer) -> None:
        """The file is there, and no block was sent that was verified before."""
        assert list(self._inbox.iterdir()) == [self._inbox / self._file.name]
        assert (self._inbox / self._file.name).read_bytes() == self._file.read_bytes()
        self._counted.read()
        assert self._counted.sent_in_vain() == []
        assert self._counted.verified_bytes == MIDDLING
        sent = sender.wait_for("transfer_sent")
        assert (sent["size"], sent["moved"]) == (MIDDLING, self._counted.sent_by(sender.process.pid))


def _sockets_of(pid: int) -> int:
    """How many sockets a process has; where nobody can tell, none."""
    count = 0
    for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
        try:
            count += descriptor.readlink().name.startswith("socket:")
        except OSError:  # closed meanwhile
            continue
    return count


def _state_of(pid: int) -> str:
    """One letter, as `ps` shows it; proc(5)."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _lives(group: int) -> bool:
    """Whether a process group has anybody in it."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)
