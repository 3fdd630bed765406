"""Connect to another peer and exchange messages and files, with nobody in between.

    from p2p_peer import connect, load_key_pair, load_public_key

    async with await connect(host, 54700, load_key_pair(...), load_public_key(...)) as session:
        await session.send_message("hello")
        await session.send(["photo.jpg", "holiday"])
        async for event in session:
            print(event)

Without a mediator: `make_token` and `connect_direct`.

Names are imported when they are first used, so that `p2p-peer --help` is quick.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from p2p_core.errors import PunchwireError
    from p2p_core.identity import PeerId, generate_key, load_key_pair, load_public_key
    from p2p_core.manifest import Entry, EntryKind, Manifest
    from p2p_core.proof import PathKind, Role
    from p2p_core.token_terms import HeldToken
    from p2p_core.wire.candidate import Address, Candidate, Transport

    from p2p_peer.app import connect
    from p2p_peer.events import (
        AddressServiceUnusable,
        Admitted,
        Advertised,
        Authenticated,
        CandidatesFound,
        ConnectEvent,
        Encrypted,
        FileFailed,
        FileGrew,
        FilesKept,
        Listening,
        Matched,
        MediatorBack,
        MediatorLost,
        MediatorReached,
        MessageDelivered,
        MessageReceived,
        NotReached,
        PathChanged,
        PathFound,
        PathLost,
        PeerDone,
        PeerLeaving,
        PeerMet,
        Phase,
        ReceiptDelivered,
        SessionEvent,
        Standing,
        StillLooking,
        StunServerUnusable,
        TokenMade,
        TokenRead,
        TransferBroken,
        TransferOffered,
        TransferProgress,
        TransferReceived,
        TransferSent,
        TransferStalled,
        TurnedAway,
    )
    from p2p_peer.mediator import StunServer
    from p2p_peer.mediator_identity import MediatorIdentity, Vouched
    from p2p_peer.options import ConnectOptions, Paths
    from p2p_peer.serverless.direct import DirectMode, connect_direct
    from p2p_peer.serverless.token import TokenMeeting, make_token, read_token
    from p2p_peer.session import Session
    from p2p_peer.transfer.target import Overwrite
    from p2p_peer.transfer.tree import SendOptions
    from p2p_peer.trust import MediatorId

_HOME = {
    "Address": "p2p_core.wire.candidate",
    "AddressServiceUnusable": "p2p_peer.events",
    "Admitted": "p2p_peer.events",
    "Advertised": "p2p_peer.events",
    "Authenticated": "p2p_peer.events",
    "Candidate": "p2p_core.wire.candidate",
    "CandidatesFound": "p2p_peer.events",
    "ConnectEvent": "p2p_peer.events",
    "ConnectOptions": "p2p_peer.options",
    "DirectMode": "p2p_peer.serverless.direct",
    "Encrypted": "p2p_peer.events",
    "Entry": "p2p_core.manifest",
    "EntryKind": "p2p_core.manifest",
    "FileFailed": "p2p_peer.events",
    "FileGrew": "p2p_peer.events",
    "FilesKept": "p2p_peer.events",
    "Listening": "p2p_peer.events",
    "Manifest": "p2p_core.manifest",
    "Matched": "p2p_peer.events",
    "MediatorBack": "p2p_peer.events",
    "MediatorId": "p2p_peer.trust",
    "MediatorIdentity": "p2p_peer.mediator_identity",
    "MediatorLost": "p2p_peer.events",
    "MediatorReached": "p2p_peer.events",
    "MessageDelivered": "p2p_peer.events",
    "MessageReceived": "p2p_peer.events",
    "NotReached": "p2p_peer.events",
    "Overwrite": "p2p_peer.transfer.target",
    "PathChanged": "p2p_peer.events",
    "PathFound": "p2p_peer.events",
    "PathKind": "p2p_core.proof",
    "PathLost": "p2p_peer.events",
    "Paths": "p2p_peer.options",
    "PeerDone": "p2p_peer.events",
    "PeerId": "p2p_core.identity",
    "PeerLeaving": "p2p_peer.events",
    "PeerMet": "p2p_peer.events",
    "Phase": "p2p_peer.events",
    "PunchwireError": "p2p_core.errors",
    "HeldToken": "p2p_core.token_terms",
    "ReceiptDelivered": "p2p_peer.events",
    "Role": "p2p_core.proof",
    "SendOptions": "p2p_peer.transfer.tree",
    "Session": "p2p_peer.session",
    "SessionEvent": "p2p_peer.events",
    "Standing": "p2p_peer.events",
    "StillLooking": "p2p_peer.events",
    "StunServer": "p2p_peer.mediator",
    "StunServerUnusable": "p2p_peer.events",
    "TokenMade": "p2p_peer.events",
    "TokenMeeting": "p2p_peer.serverless.token",
    "TokenRead": "p2p_peer.events",
    "TransferBroken": "p2p_peer.events",
    "TransferOffered": "p2p_peer.events",
    "TransferProgress": "p2p_peer.events",
    "TransferReceived": "p2p_peer.events",
    "TransferSent": "p2p_peer.events",
    "TransferStalled": "p2p_peer.events",
    "Transport": "p2p_core.wire.candidate",
    "TurnedAway": "p2p_peer.events",
    "Vouched": "p2p_peer.mediator_identity",
    "connect": "p2p_peer.app",
    "connect_direct": "p2p_peer.serverless.direct",
    "generate_key": "p2p_core.identity",
    "load_key_pair": "p2p_core.identity",
    "load_public_key": "p2p_core.identity",
    "make_token": "p2p_peer.serverless.token",
    "read_token": "p2p_peer.serverless.token",
}

__all__ = [
    "Address",
    "AddressServiceUnusable",
    "Admitted",
    "Advertised",
    "Authenticated",
    "Candidate",
    "CandidatesFound",
    "ConnectEvent",
    "ConnectOptions",
    "DirectMode",
    "Encrypted",
    "Entry",
    "EntryKind",
    "FileFailed",
    "FileGrew",
    "FilesKept",
    "HeldToken",
    "Listening",
    "Manifest",
    "Matched",
    "MediatorBack",
    "MediatorId",
    "MediatorIdentity",
    "MediatorLost",
    "MediatorReached",
    "MessageDelivered",
    "MessageReceived",
    "NotReached",
    "Overwrite",
    "PathChanged",
    "PathFound",
    "PathKind",
    "PathLost",
    "Paths",
    "PeerDone",
    "PeerId",
    "PeerLeaving",
    "PeerMet",
    "Phase",
    "PunchwireError",
    "ReceiptDelivered",
    "Role",
    "SendOptions",
    "Session",
    "SessionEvent",
    "Standing",
    "StillLooking",
    "StunServer",
    "StunServerUnusable",
    "TokenMade",
    "TokenMeeting",
    "TokenRead",
    "TransferBroken",
    "TransferOffered",
    "TransferProgress",
    "TransferReceived",
    "TransferSent",
    "TransferStalled",
    "Transport",
    "TurnedAway",
    "Vouched",
    "connect",
    "connect_direct",
    "generate_key",
    "load_key_pair",
    "load_public_key",
    "make_token",
    "read_token",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(name)
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
