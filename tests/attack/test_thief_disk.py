"""What all the files of one side, and a recording of its connections, are worth to who steals them."""

import asyncio
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from p2p_core.errors import KeyLocked
from p2p_core.identity import load_key_pair, private_pem
from p2p_core.proof import Role
from p2p_core.wire.frames import TextMessage, encode
from p2p_peer.channel.channel import establish

from tests.attack.hellos import KEY_SHARE, PRE_SHARED_KEY, X25519MLKEM768, extensions
from tests.keys import key
from tests.peer.pair import agreement, own_key, soon
from tests.peer.wiretap import Wire
from tests.programs import Keys, Programs

WORDS = "the bank is robbed at noon"
ML_KEM_KEY, ML_KEM_CIPHERTEXT, X25519_SHARE = 1184, 1088, 32  # draft-ietf-tls-ecdhe-mlkem §4
SCRYPT = bytes.fromhex("06092b06010401da47040b")  # its object identifier in DER, RFC 7914 §7
SALT = bytes.fromhex("0410")  # 16 bytes
COST = bytes.fromhex("02024000 020108 020105")  # N = 2^14, r = 8, p = 5: five times 16 MiB


def test_a_locked_key_pair() -> None:
    """
    TRIES: to use a stolen key pair without its passphrase, with wrong ones, or by reading its numbers out of the file.
    OUTCOME: nothing of it shows, and no guess but the right one opens it; each costs 16 MiB and five scrypts.
    """
    locked = private_pem(key(0), b"correct horse")
    for guess in (None, b"", b"correct", b"correct horse ", b"Correct horse"):
        with pytest.raises(KeyLocked):
            load_key_pair(locked, guess)
    assert load_key_pair(locked, b"correct horse").private_numbers() == key(0).private_numbers()
    lines = locked.splitlines()
    assert lines[0] == b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
    content = b64decode(b"".join(lines[1:-1]))
    derivation = content.index(SCRYPT) + len(SCRYPT) + 2  # and the header of its parameters
    assert content[derivation:][:2] == SALT
    assert content[derivation + 2 + 16 :].startswith(COST)


@dataclass(frozen=True)
class Recorded:
    """What a recording of one channel has."""

    client_hello: dict[int, bytes]  # extensions
    server_hello: dict[int, bytes]
    said: bytes  # behind the handshake

    @property
    def halves(self) -> list[bytes]:
        """Of the key shares of both sides: first the initiator's for ML-KEM and for X25519, then the responder's."""
        asked = self.client_hello[KEY_SHARE][2:]  # a list of shares, of which this is the first
        chosen = self.server_hello[KEY_SHARE]
        halves = []
        for share, first in ((asked, ML_KEM_KEY), (chosen, ML_KEM_CIPHERTEXT)):
            assert share[:4] == X25519MLKEM768 + (first + X25519_SHARE).to_bytes(2, "big")
            halves += [share[4 : 4 + first], share[4 + first : 4 + first + X25519_SHARE]]
        return halves


async def recorded_channel() -> Recorded:
    """Open a channel on a wire that is recorded, and say something."""
    wire = Wire()
    ends = [
        asyncio.create_task(establish(path, agreement(role), own_key(role), own_key(role.other).public_key()))
        for path, role in ((wire.initiator, Role.INITIATOR), (wire.responder, Role.RESPONDER))
    ]
    flights = [await wire.from_initiator()]
    wire.to_responder(flights[0])
    flights.append(await wire.from_responder())
    wire.to_initiator(flights[1])
    finished = await wire.from_initiator()
    wire.to_responder(finished)
    initiator, responder = await soon(asyncio.gather(*ends))
    initiator.stream.write(memoryview(encode(TextMessage(1, 0, WORDS, b""))))
    said = finished + await wire.from_initiator()
    for end in (initiator, responder):
        end.stream.close()
    wire.close()
    return Recorded(extensions(flights[0]), extensions(flights[1]), said)


async def test_recorded_channels() -> None:
    """
    TRIES: to open what was recorded of two channels with the stolen keys of both peers.
    OUTCOME: the keys have no part in the key exchange: all hybrid shares are new, and no earlier secret comes in.
    """
    channels = [await recorded_channel() for _ in range(2)]
    assert len({half for channel in channels for half in channel.halves}) == 8
    for channel in channels:
        assert PRE_SHARED_KEY not in channel.client_hello.keys() | channel.server_hello.keys()
        assert WORDS.encode() not in channel.said


def test_the_files_of_both_sides(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    """
    TRIES: to read what was said, or to find a key besides the two pairs, in all files of the peers and the mediator.
    OUTCOME: no file has a word of it, and the only other private key is the mediator's own.
    """
    mediator = programs.mediator(tmp_path / "mediator", keys)
    said = {keys[0]: f"{WORDS}, says Alice", keys[1]: f"{WORDS}, says Bob"}
    peers = [
        programs.peer(str(number), mediator, own, other, "--message", said[own], "--verbose")
        for number, (own, other) in enumerate(((keys[0], keys[1]), (keys[1], keys[0])))
    ]
    for peer, other in zip(peers, reversed(keys), strict=True):
        assert peer.exit_code() == 0
        assert [event["text"] for event in peer.all("message")] == [said[other]]
    assert mediator.stop() == 0
    stolen = [
        path for folder in (tmp_path, *(each.folder for each in keys)) for path in folder.rglob("*") if path.is_file()
    ]
    assert {path.name for path in stolen} >= {"trust.json", "key.pem"}
    pairs = set()
    for path in stolen:
        content = path.read_bytes()
        assert WORDS.encode() not in content, path
        if b"PRIVATE KEY" in content:
            load_pem_private_key(content, None)
            pairs.add(path.parent.name if path.name == "key.pem" else path.name)
    assert len(pairs) == 3, pairs
