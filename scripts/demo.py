#!/usr/bin/env python3
"""The main job, for real: a mediator, two peers with fresh keys, a message each way, and a file.

    scripts/demo.py [FILE]      FILE is sent instead of 64 MiB of random bytes

Where network namespaces can be made, the peers run behind two NATs in two private networks; elsewhere on loopback.
Exits with 0 only if everything the story tells was checked and is true.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from blake3 import blake3
from p2p_core.identity import PeerId, load_public_key

from tests.lab.nat import Lab
from tests.lab.rootless import availability, enter

SIZE = 64 * 1024 * 1024
PORT = 54700
PATIENCE = 60.0  # s for anything to happen; it takes less than one
TRANSFER_PATIENCE = 3600.0  # s for a file of the user's own
BIN = Path(sys.executable).parent
HELLO = {"alice": "Hello Bob, can you hear me?", "bob": "Loud and clear, Alice."}

Start = Callable[[list[str]], subprocess.Popen[str]]


class DemoFailed(Exception):
    """Something the story would have told is not true."""


@dataclass
class Place:
    """Where the demo happens: how to start a process there."""

    description: list[str]
    mediator_host: str
    mediator: Start
    peers: dict[str, Start]


@dataclass
class Peer:
    """A running `p2p-peer --json`, and what it has said so far."""

    name: str
    process: subprocess.Popen[str]
    started: float
    events: dict[str, dict[str, Any]] = field(default_factory=dict)  # the last of each kind
    times: dict[str, float] = field(default_factory=dict)  # s since the start, of the first of each kind
    heard: Queue[str | None] = field(default_factory=Queue)

    def __post_init__(self) -> None:
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            kind = str(event.pop("event"))
            self.times.setdefault(kind, time.monotonic() - self.started)
            self.events[kind] = event
            self.heard.put(kind)
        self.heard.put(None)

    def wait_for(self, kind: str, patience: float = PATIENCE) -> dict[str, Any]:
        """Return the first event of this kind; raise when there is an error, or the process ends, instead."""
        deadline = time.monotonic() + patience
        while kind not in self.events:
            try:
                heard = self.heard.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise DemoFailed(f"{self.name} was not {kind} within {patience:.0f} s") from None
            if heard is None or "error" in self.events:
                reason = self.events.get("error", {}).get("message", "no reason given")
                raise DemoFailed(f"{self.name} ended before it was {kind}: {reason}")
        return self.events[kind]


class Story:
    """Prints one line for each step, with the time since the beginning."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def tell(self, what: str, *lines: str) -> None:
        """Print what happened; further lines stand below the first."""
        stamp = f"{time.monotonic() - self._began:6.2f} s"
        for line in lines:
            print(f"{stamp:>8}  {what:<10} {line}", flush=True)
            stamp = what = ""


def main() -> int:
    """Tell the story; return the exit code."""
    if availability().mode == "userns":
        enter()  # starts this program once more, inside a user namespace
    story = Story()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="punchwire-demo-")))
        try:
            place = stack.enter_context(_lab() if availability().mode == "root" else _loopback())
            story.tell("place", *place.description)
            _play(story, place, folder, _source(folder), stack)
        except DemoFailed as failure:
            print(f"\nThe demo failed: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    return 0


def _play(story: Story, place: Place, folder: Path, source: Path, stack: ExitStack) -> None:
    ids = {name: _keygen(folder / name) for name in place.peers}
    whose = ", ".join(f"{name} is {peer.short}" for name, peer in ids.items())
    story.tell("keys", f"{whose} (RSA, made just now)")

    mediator_id, server = _start_mediator(place, folder)
    stack.callback(_end, server)
    where = f"{place.mediator_host}:{PORT}"
    story.tell("mediator", f"up at {where} with TLS; its id is {mediator_id[:8]}; it admits both keys")

    errands = {"alice": ["--send", str(source)], "bob": ["--receive", str(folder / "inbox"), "--yes"]}
    peers = {name: _start_peer(place, folder, name, errands[name]) for name in place.peers}
    for peer in peers.values():
        stack.callback(_end, peer.process)
    _tell_of_mediator(story, peers, mediator_id)
    _tell_of_connection(story, peers, ids)
    _tell_of_messages(story, peers)
    _tell_of_file(story, peers, source)
    for name, process in [*((peer.name, peer.process) for peer in peers.values()), ("the mediator", server)]:
        if process is server:
            server.terminate()
        if process.wait(PATIENCE) != 0:
            raise DemoFailed(f"{name} ended with exit code {process.returncode}")
    story.tell("end", "both peers and the mediator ended with exit code 0")


def _tell_of_mediator(story: Story, peers: dict[str, Peer], mediator_id: str) -> None:
    for name, peer in peers.items():
        peer.wait_for("waiting")
        pinned = peer.events.get("mediator_pinned", {}).get("id")
        if pinned != mediator_id:
            raise DemoFailed(f"{name} pinned the mediator id {pinned}")
        after = f"{peer.times['waiting'] * 1000:.0f} ms"
        story.tell("proof", f"{name} pinned the mediator's key and proved its own to it, {after} after its start")
    roles = {name: str(peer.wait_for("matched")["role"]) for name, peer in peers.items()}
    if sorted(roles.values()) != ["initiator", "responder"]:
        raise DemoFailed(f"the roles do not fit: {roles}")
    who = ", ".join(f"{name} is the {role}" for name, role in roles.items())
    story.tell("match", f"they asked for each other; the mediator swapped their sealed offers: {who}")


def _tell_of_connection(story: Story, peers: dict[str, Peer], ids: dict[str, PeerId]) -> None:
    alice, bob = peers["alice"].wait_for("connected"), peers["bob"].wait_for("connected")
    if (alice["peer"], bob["peer"]) != (str(ids["bob"]), str(ids["alice"])):
        raise DemoFailed(f"alice is connected to {alice['peer']}, bob to {bob['peer']}")
    story.tell("path", f"{alice['path']}: alice sees bob at {alice['address']}, bob sees alice at {bob['address']}")
    exchange = alice["key_exchange"]
    story.tell("proof", f"alice and bob proved their keys to each other, bound to TLS 1.3 with {exchange}")
    slower = max(float(alice["seconds"]), float(bob["seconds"]))
    whole = max(peer.times["connected"] for peer in peers.values())
    story.tell("connected", f"{slower * 1000:.0f} ms after both had advertised, {whole * 1000:.0f} ms after the start")


def _tell_of_messages(story: Story, peers: dict[str, Peer]) -> None:
    for name, other in (("alice", "bob"), ("bob", "alice")):
        text = peers[other].wait_for("message")["text"]
        if text != HELLO[name]:
            raise DemoFailed(f"{other} read {text!r}")
        story.tell("message", f"{name}: {text}  (signed, encrypted, acknowledged)")


def _tell_of_file(story: Story, peers: dict[str, Peer], source: Path) -> None:
    received = peers["bob"].wait_for("file_received", TRANSFER_PATIENCE)
    sent = peers["alice"].wait_for("file_sent")
    size, seconds = int(sent["size"]), float(sent["seconds"])
    rate = f"{size / seconds / 1e6:.0f} MB/s, {size * 8 / seconds / 1e9:.1f} Gbit/s" if seconds else "at once"
    story.tell("file", f"{sent['name']}: {size} bytes in {seconds * 1000:.0f} ms = {rate}, every block verified")
    of_source, of_copy = _digest(source), _digest(Path(received["path"]))
    if of_copy != of_source or received["blake3"] != of_source:
        raise DemoFailed(f"the received file is not the sent one: {of_copy}, not {of_source}")
    story.tell("equal", f"BLAKE3 of both files, computed anew: {of_source[:32]}…")


@contextmanager
def _lab() -> Iterator[Place]:
    """Two private networks, two NATs, and a public segment with the mediator, in network namespaces."""
    with Lab(a="port-restricted", b="pr-nopreserve") as lab:

        def start_at(host: str) -> Start:
            return lambda argv: lab.popen(host, argv, stdout=subprocess.PIPE, text=True)

        description = [
            "two private networks behind two NATs (network namespaces, nftables)",
            f"alice {lab.address('a')} behind {lab.public_address('a')}, port-restricted",
            f"bob   {lab.address('b')} behind {lab.public_address('b')}, the same, and it renumbers ports",
        ]
        yield Place(description, lab.mediator_address, start_at("med"), {"alice": start_at("a"), "bob": start_at("b")})


@contextmanager
def _loopback() -> Iterator[Place]:
    """Everything on this computer, where no networks can be made."""

    def start(argv: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)

    description = [f"loopback, no NAT: {availability().reason}"]
    yield Place(description, "127.0.0.1", start, {"alice": start, "bob": start})


def _source(folder: Path) -> Path:
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        if not path.is_file():
            raise DemoFailed(f"{path} is not a file")
        return path
    path = folder / "random.bin"
    with path.open("wb") as file:
        for _ in range(SIZE // 2**20):
            file.write(os.urandom(2**20))
    return path


def _keygen(folder: Path) -> PeerId:
    subprocess.run([BIN / "p2p-peer", "keygen", folder], check=True, stdout=subprocess.DEVNULL)
    return PeerId.of(load_public_key((folder / "public.pem").read_bytes()))


def _start_mediator(place: Place, folder: Path) -> tuple[str, subprocess.Popen[str]]:
    admitted = folder / "authorized"
    publics = [str(folder / name / "public.pem") for name in place.peers]
    authorize = [BIN / "p2p-server", "authorize", "--authorized", admitted, *publics]
    subprocess.run(authorize, check=True, stdout=subprocess.DEVNULL)
    where = ["--host", place.mediator_host, "--port", str(PORT), "--stun-port", str(PORT + 1)]
    files = ["--authorized", str(admitted), "--state-dir", str(folder / "mediator")]
    process = place.mediator(
        [str(BIN / "p2p-server"), *where, *files, "--log-format", "json", "--log-level", "warning"]
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise DemoFailed(f"the mediator did not start: exit code {process.wait(PATIENCE)}")
    return str(json.loads(line)["mediator_id"]), process


def _start_peer(place: Place, folder: Path, name: str, errand: list[str]) -> Peer:
    other = "bob" if name == "alice" else "alice"
    keys = [str(folder / name / "key.pem"), str(folder / other / "public.pem")]
    state = ["--state-dir", str(folder / name / "state")]
    what = ["--json", "--message", HELLO[name], *errand, *state]
    started = time.monotonic()
    return Peer(name, place.peers[name]([str(BIN / "p2p-peer"), place.mediator_host, str(PORT), *keys, *what]), started)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait(PATIENCE)
    if process.stdout is not None:
        process.stdout.close()


def _digest(path: Path) -> str:
    hasher = blake3()
    with path.open("rb") as file:
        while data := file.read(2**20):
            hasher.update(data)
    return hasher.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
