"""`p2p-peer` at a terminal, which is a pseudo-terminal here."""

import os
import pty
import signal
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.e2e.conftest import World
from tests.programs import PATIENCE, Keys, end, p2p_peer


class Terminal:
    """A program at a terminal of its own: what it shows can be waited for, and keys can be typed."""

    def __init__(self, argv: list[str], folder: Path) -> None:
        self._screen = ""
        self._seen = 0  # how much of it has been waited for
        self._changed = threading.Condition()
        self._over = False
        self._keyboard, terminal = pty.openpty()
        self.process = subprocess.Popen(
            argv, stdin=terminal, stdout=terminal, stderr=terminal, text=True, cwd=folder, start_new_session=True
        )
        os.close(terminal)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        end(self.process)
        self._reader.join()
        os.close(self._keyboard)

    def shows(self, text: str) -> None:
        """Wait until `text` is on the screen, behind what was waited for before."""
        with self._changed:
            self._changed.wait_for(lambda: text in self._screen[self._seen :] or self._over, PATIENCE)
            at = self._screen.find(text, self._seen)
            assert at >= 0, f"{text!r} was not shown:\n{self._screen}"
            self._seen = at + len(text)

    def types(self, line: str) -> None:
        """Type a line."""
        os.write(self._keyboard, line.encode() + b"\n")

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._keyboard, 65536)
            except OSError:  # EIO: the last process has closed the terminal
                data = b""
            with self._changed:
                self._screen += data.decode("utf-8", "replace")
                self._over = not data
                self._changed.notify_all()
            if not data:
                return


def _chat(world: World, own: Keys, other: Keys, folder: Path, *flags: str) -> Terminal:
    where = [world.mediator.host, str(world.mediator.port), own.pair, other.public]
    folder.mkdir()
    terminal = Terminal(p2p_peer(*where, "--state-dir", own.folder / "state", *flags), folder)
    return world.programs.enter_context(terminal)


@pytest.fixture
def chats(world: World, tmp_path: Path) -> tuple[Terminal, Terminal]:
    alice = _chat(world, world.alice, world.bob, tmp_path / "alice")
    bob = _chat(world, world.bob, world.alice, tmp_path / "bob")
    for chat in (alice, bob):
        chat.shows(world.mediator.id)
        chat.types("yes")
    for chat in (alice, bob):
        chat.shows("connected to")
    return alice, bob


def test_two_people_chat_and_one_leaves(chats: tuple[Terminal, Terminal], world: World) -> None:
    alice, bob = chats
    alice.types("* closed")  # cannot pass for a line of the program
    bob.shows(f"{world.alice.peer.short}> * closed")
    bob.types("hello from bob")
    alice.shows("hello from bob")
    alice.types("//quit is how one leaves")
    bob.shows("/quit is how one leaves")
    alice.types("/nonsense")
    alice.shows("commands: ")
    alice.types("/quit")
    assert (alice.process.wait(PATIENCE), bob.process.wait(PATIENCE)) == (0, 0)
    bob.shows("the other side leaves")


def test_a_file_is_asked_about_with_name_and_size(chats: tuple[Terminal, Terminal], tmp_path: Path) -> None:
    alice, bob = chats
    (tmp_path / "photo.jpg").write_bytes(bytes(1500))
    alice.types(f"/send {tmp_path / 'photo.jpg'}")
    bob.shows("photo.jpg (1.5 kB)")
    bob.shows("accept photo.jpg? [y/n]")
    bob.types("y")
    alice.shows("sent photo.jpg")
    bob.shows("received ")
    assert (tmp_path / "bob" / "photo.jpg").read_bytes() == bytes(1500)
    alice.types(f"/send {tmp_path / 'photo.jpg'}")
    bob.shows("offers photo.jpg")
    bob.types("n")
    alice.shows("did not take photo.jpg")
    alice.types(f"/send {tmp_path / 'missing'}")
    alice.shows("cannot be read")
    bob.types("/quit")
    assert (alice.process.wait(PATIENCE), bob.process.wait(PATIENCE)) == (0, 0)


def test_a_file_that_did_not_get_through_is_told(chats: tuple[Terminal, Terminal], tmp_path: Path) -> None:
    alice, bob = chats
    with (tmp_path / "film.mkv").open("wb") as film:
        film.truncate(8 * 2**30)
    alice.types(f"/send {tmp_path / 'film.mkv'}")
    bob.shows("accept film.mkv?")
    bob.types("y")
    alice.shows("sending")
    bob.process.send_signal(signal.SIGINT)
    alice.shows("film.mkv was not sent")
    assert (alice.process.wait(PATIENCE), bob.process.wait(PATIENCE)) == (0, 130)
    assert list((tmp_path / "bob").iterdir()) == []


def test_a_mediator_that_is_not_confirmed_is_left(world: World, tmp_path: Path) -> None:
    alice = _chat(world, world.alice, world.bob, tmp_path / "alice")
    alice.shows("is that the one")
    alice.types("no")
    assert alice.process.wait(PATIENCE) == 4


def test_end_of_input_leaves(chats: tuple[Terminal, Terminal]) -> None:
    alice, bob = chats
    alice.types("\x04")
    assert (alice.process.wait(PATIENCE), bob.process.wait(PATIENCE)) == (0, 0)
