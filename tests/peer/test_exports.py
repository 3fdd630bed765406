"""The public names of the library are frozen: what is added or taken away is done on purpose."""

import importlib
import subprocess
import sys

import p2p_peer
import pytest

NAMES = """
    Address AddressServiceUnusable Admitted Advertised Authenticated Candidate CandidatesFound ConnectEvent
    ConnectOptions DirectMode Encrypted Entry EntryKind FileFailed FileGrew FilesKept Listening Manifest Matched
    MediatorBack MediatorId MediatorIdentity MediatorLost MediatorReached MessageDelivered MessageReceived NotReached
    Overwrite PathChanged PathFound PathKind PathLost Paths PeerDone PeerId PeerLeaving PeerMet Phase
    PunchwireError HeldToken
    ReceiptDelivered Role SendOptions Session SessionEvent Standing StillLooking StunServer StunServerUnusable
    TokenMade TokenMeeting TokenRead TransferBroken TransferOffered TransferProgress TransferReceived TransferSent
    TransferStalled Transport TurnedAway Vouched connect connect_direct generate_key load_key_pair load_public_key
    make_token read_token
""".split()


def test_the_public_names() -> None:
    assert sorted(p2p_peer.__all__) == dir(p2p_peer) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_there(name: str) -> None:
    home = importlib.import_module(p2p_peer._HOME[name])
    assert getattr(p2p_peer, name) is getattr(home, name)


def test_what_is_not() -> None:
    with pytest.raises(AttributeError):
        p2p_peer.no_such_name  # noqa: B018


def test_importing_the_library_loads_nothing_heavy() -> None:
    program = "import p2p_peer, sys; sys.exit(bool({'grpc', 'OpenSSL', 'asyncio'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", program], check=True)
