"""No secret of a session is in what the programs say, however much they are to say, nor in what they leave behind."""

import base64
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from p2p_core.identity import PeerId, load_key_pair, load_public_key

from tests.lasting_ports import lasting_ports
from tests.programs import DIRECT, Keys, Mediator, Peer, Programs, p2p_peer
from tests.recorded import recorded
from tests.token_peers import paste, token_of, token_peer

PASSPHRASE, PHRASE = "correct horse battery staple", "green tea at five o'clock"
_SHORTEST = 8  # bytes of a secret that is looked for


@pytest.fixture
def watched(tmp_path: Path) -> "Watched":
    return Watched(tmp_path)


class Watched:
    """All that the programs of one test have said and left behind, and the secrets they had."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "seen"
        self.folder.mkdir()
        self._record = folder / "secrets"
        self._known: list[bytes] = []
        self._start = recorded(self._record)

    def start(self, argv: list[str], **options: Any) -> "subprocess.Popen[str]":
        """Start a program. Its standard error is seen, and what other users see of its command line."""
        environment = os.environ | {"P2P_PEER_PASSPHRASE": PASSPHRASE, "P2P_PEER_PHRASE": PHRASE}
        number = len(list(self.folder.iterdir()))
        with (self.folder / f"{number} stderr").open("wb") as said:
            process = self._start(argv, **options | {"env": environment, "stderr": said})
        (self.folder / f"{number} arguments").write_text("\n".join(argv))
        return process

    def keys(self, name: str) -> Keys:
        """Make a locked pair, whose secrets are then known."""
        folder = self.folder / name
        environment = os.environ | {"P2P_PEER_PASSPHRASE": PASSPHRASE}
        made = subprocess.check_output(p2p_peer("keygen", folder, "--passphrase", "--bits", "2048"), env=environment)
        (self.folder / f"{name} made").write_bytes(made)
        pair = load_key_pair((folder / "key.pem").read_bytes(), PASSPHRASE.encode())
        numbers = pair.private_numbers()
        for number in (numbers.p, numbers.q, numbers.d, numbers.dmp1, numbers.dmq1, numbers.iqmp):
            self._known += [number.to_bytes((number.bit_length() + 7) // 8, "big"), str(number).encode()]
        return Keys(folder, PeerId.of(load_public_key((folder / "public.pem").read_bytes())))

    def heard(self, name: str, *said: object) -> None:
        """See something else."""
        (self.folder / name).write_text("\n".join(map(str, said)))

    def found(self, *other: bytes) -> dict[str, list[str]]:
        """Return what is found where; `other` are further secrets."""
        recorded = [bytes.fromhex(line) for line in self._record.read_text().splitlines()]
        secrets = {*recorded, *self._known, PASSPHRASE.encode(), PHRASE.encode(), *other}
        assert len(recorded) > 4
        files = {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}
        assert sum(map(len, files.values())) > 5000
        forms = {form for secret in secrets if len(secret) >= _SHORTEST for form in _forms(secret)}
        found = {path.name: [repr(form) for form in forms if form in data] for path, data in files.items()}
        return {name: forms for name, forms in found.items() if forms}


def _forms(secret: bytes) -> Iterator[bytes]:
    """The ways in which a secret may be written; of base64 what does not depend on what is before and behind it."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    yield secret.hex(":").encode()
    yield repr(secret)[2:-1].encode()
    yield json.dumps(secret.decode("latin-1"))[1:-1].encode()
    for encode, group in ((base64.b64encode, 3), (base64.urlsafe_b64encode, 3), (base64.b32encode, 5)):
        for shift in range(group):
            aligned = secret[shift : shift + (len(secret) - shift) // group * group]
            yield encode(aligned)
            yield encode(aligned).lower() if group == 5 else encode(aligned)


def said_by(peers: Iterable[Peer]) -> list[str]:
    return [json.dumps(event) for peer in peers for event in peer.events]


@pytest.mark.parametrize("way", ["direct", "relay"])
def test_a_session_by_a_mediator(programs: Programs, watched: Watched, way: str) -> None:
    keys = alice, bob = watched.keys("alice"), watched.keys("bob")
    metrics = str(lasting_ports(1))
    loud = ("--log-level", "debug", "--log-peers", "--metrics", metrics)
    mediator: Mediator = programs.mediator(watched.folder / "mediator", keys, *loud, start=watched.start)
    (watched.folder / "letter").write_text("dear Bob\n" * 1000)
    network = ("--relay-only",) if way == "relay" else ("--bind", "127.0.0.1", "--no-port-mapping")
    flags = ("--verbose", *network)
    sends = ("--send", watched.folder / "letter", "--message", "hello")
    receives = ("--receive", watched.folder / "got", "--yes")
    peers = (
        programs.peer("alice", mediator, alice, bob, *flags, *sends, start=watched.start),
        programs.peer("bob", mediator, bob, alice, *flags, *receives, start=watched.start),
    )
    assert [peer.exit_code() for peer in peers] == [0, 0]
    paths = {"relay"} if way == "relay" else DIRECT
    assert all(peer.wait_for("connected")["path"] in paths for peer in peers)
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics") as answer:
        watched.heard("metrics", answer.read().decode())
    assert mediator.stop() == 0
    watched.heard("events", *said_by(peers))
    assert watched.found() == {}


def test_a_session_by_tokens(programs: Programs, watched: Watched) -> None:
    alice, bob = watched.keys("alice"), watched.keys("bob")
    flags = ("--verbose", "--bind", "127.0.0.1", "--message", "hello")
    peers = [
        token_peer(programs, "alice", watched.folder / "a", *flags, own=alice, other=bob, start=watched.start),
        token_peer(programs, "bob", watched.folder / "b", *flags, own=bob, other=alice, start=watched.start),
    ]
    tokens = [token_of(peer) for peer in peers]
    for peer, token in zip(peers, reversed(tokens), strict=True):
        paste(token, peer)
    assert [peer.exit_code() for peer in peers] == [0, 0]
    watched.heard("events", *said_by(peers))
    assert watched.found() == {}


def test_what_is_looked_for_would_be_found(watched: Watched, tmp_path: Path) -> None:
    """In every form, wherever it stands."""
    secret = bytes(range(200, 232))
    for number, form in enumerate(set(_forms(secret))):
        watched.heard(f"{number} {'.' * 10}", "x" * 1000)
        (watched.folder / str(number)).write_bytes(b"before" + form + b"behind")
    for shift in range(3):
        (watched.folder / f"within {shift}").write_bytes(base64.b64encode(b"x" * shift + secret + b"more"))
    (tmp_path / "secrets").write_text("00" * 12 + "\n" + "\n".join(f"{n:024x}" for n in range(1, 9)))
    missed = {path.name for path in watched.folder.iterdir()} - set(watched.found(secret))
    assert all("." in name for name in missed)
