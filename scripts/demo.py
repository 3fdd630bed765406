#!/usr/bin/env python3
"""The main job, for real: a mediator, two peers with fresh keys, a message each way, and a file.

    scripts/demo.py [FILE]      FILE is sent instead of 64 MiB of random bytes

Where network namespaces can be made, the peers run behind two NATs in two private networks; elsewhere on loopback.
Exits with 0 only if everything the story tells was checked and is true.
"""

import argparse
import functools
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from blake3 import blake3

from tests.lab.nat import Lab
from tests.lab.rootless import availability, enter
from tests.programs import Keys, Peer, ProgramFailed, Programs, Start, start_here

SIZE = 64 * 1024 * 1024
TRANSFER_PATIENCE = 3600.0  # s for a file of the user's own
HELLO = {"alice": "Hello Bob, can you hear me?", "bob": "Loud and clear, Alice."}


@dataclass
class Place:
    """Where the demo happens: how to start a process there."""

    description: list[str]
    mediator_host: str
    mediator: Start
    peers: dict[str, Start]


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
    parser = argparse.ArgumentParser(description="The main job, for real: two peers meet, talk, and send a file.")
    parser.add_argument("file", metavar="FILE", type=Path, nargs="?", help="sent instead of 64 MiB of random bytes")
    chosen: Path | None = parser.parse_args().file
    if availability().mode == "userns":
        enter()  # starts this program once more, inside a user namespace
    story = Story()
    with Programs() as programs:
        folder = Path(programs.enter_context(tempfile.TemporaryDirectory(prefix="punchwire-demo-")))
        try:
            place = programs.enter_context(_lab() if availability().mode == "root" else _loopback())
            story.tell("place", *place.description)
            _play(story, place, folder, _source(folder, chosen), programs)
        except ProgramFailed as failure:
            print(f"\nThe demo failed: {failure}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
    return 0


def _play(story: Story, place: Place, folder: Path, source: Path, programs: Programs) -> None:
    keys = {name: Keys.make(folder / name) for name in place.peers}
    whose = ", ".join(f"{name} is {pair.peer.short}" for name, pair in keys.items())
    story.tell("keys", f"{whose} (RSA, made just now)")

    mediator = programs.mediator(
        folder / "mediator", list(keys.values()), start=place.mediator, host=place.mediator_host
    )
    where = f"{mediator.host}:{mediator.port}"
    story.tell("mediator", f"up at {where} with TLS; its id is {mediator.id[:8]}; it admits both keys")

    errands = {"alice": ["--send", source], "bob": ["--receive", folder / "inbox", "--yes"]}
    peers = {}
    for name, other in (("alice", "bob"), ("bob", "alice")):
        what = ["--message", HELLO[name], *errands[name]]
        peers[name] = programs.peer(name, mediator, keys[name], keys[other], *what, start=place.peers[name])
    _tell_of_mediator(story, peers, mediator.id)
    _tell_of_connection(story, peers, keys)
    _tell_of_messages(story, peers)
    _tell_of_file(story, peers, source)
    codes = {name: peer.exit_code() for name, peer in peers.items()} | {"the mediator": mediator.stop()}
    if any(codes.values()):
        raise ProgramFailed(f"the exit codes are not all 0: {codes}")
    story.tell("end", "both peers and the mediator ended with exit code 0")


def _tell_of_mediator(story: Story, peers: dict[str, Peer], mediator_id: str) -> None:
    for name, peer in peers.items():
        pinned = peer.wait_for("mediator_pinned")["id"]
        peer.wait_for("waiting")
        if pinned != mediator_id:
            raise ProgramFailed(f"{name} pinned the mediator id {pinned}")
        after = f"{peer.times['waiting'] * 1000:.0f} ms"
        story.tell("proof", f"{name} pinned the mediator's key and proved its own to it, {after} after its start")
    roles = {name: str(peer.wait_for("matched")["role"]) for name, peer in peers.items()}
    if sorted(roles.values()) != ["initiator", "responder"]:
        raise ProgramFailed(f"the roles do not fit: {roles}")
    who = ", ".join(f"{name} is the {role}" for name, role in roles.items())
    story.tell("match", f"they asked for each other; the mediator swapped their sealed offers: {who}")


def _tell_of_connection(story: Story, peers: dict[str, Peer], keys: dict[str, Keys]) -> None:
    alice, bob = peers["alice"].wait_for("connected"), peers["bob"].wait_for("connected")
    if (alice["peer"], bob["peer"]) != (str(keys["bob"].peer), str(keys["alice"].peer)):
        raise ProgramFailed(f"alice is connected to {alice['peer']}, bob to {bob['peer']}")
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
            raise ProgramFailed(f"{other} read {text!r}")
        story.tell("message", f"{name}: {text}  (signed, encrypted, acknowledged)")


def _tell_of_file(story: Story, peers: dict[str, Peer], source: Path) -> None:
    received = peers["bob"].wait_for("transfer_received", TRANSFER_PATIENCE)
    sent = peers["alice"].wait_for("transfer_sent")
    size, seconds = int(sent["size"]), float(sent["seconds"])
    rate = f"{size / seconds / 1e6:.0f} MB/s, {size * 8 / seconds / 1e9:.1f} Gbit/s" if seconds else "at once"
    story.tell("file", f"{sent['label']}: {size} bytes in {seconds * 1000:.0f} ms = {rate}, every block verified")
    of_source, of_copy = _digest(source), _digest(Path(received["paths"][0]))
    if of_copy != of_source:
        raise ProgramFailed(f"the received file is not the sent one: {of_copy}, not {of_source}")
    story.tell("equal", f"BLAKE3 of both files, computed anew: {of_source[:32]}…")


@contextmanager
def _lab() -> Iterator[Place]:
    """Two private networks, two NATs, and a public segment with the mediator, in network namespaces."""
    with Lab(a="port-restricted", b="pr-nopreserve") as lab:

        def start_at(host: str) -> Start:
            return functools.partial(lab.popen, host, text=True)

        description = [
            "two private networks behind two NATs (network namespaces, nftables)",
            f"alice {lab.address('a')} behind {lab.public_address('a')}, port-restricted",
            f"bob   {lab.address('b')} behind {lab.public_address('b')}, the same, and it renumbers ports",
        ]
        yield Place(description, lab.mediator_address, start_at("med"), {"alice": start_at("a"), "bob": start_at("b")})


@contextmanager
def _loopback() -> Iterator[Place]:
    """Everything on this computer, where no networks can be made."""
    description = [f"loopback, no NAT: {availability().reason}"]
    yield Place(description, "127.0.0.1", start_here, {"alice": start_here, "bob": start_here})


def _source(folder: Path, chosen: Path | None) -> Path:
    if chosen is not None:
        if not chosen.is_file():
            raise ProgramFailed(f"{chosen} is not a file")
        return chosen
    path = folder / "random.bin"
    with path.open("wb") as file:
        for _ in range(SIZE // 2**20):
            file.write(os.urandom(2**20))
    return path


def _digest(path: Path) -> str:
    hasher = blake3()
    with path.open("rb") as file:
        while data := file.read(2**20):
            hasher.update(data)
    return hasher.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
