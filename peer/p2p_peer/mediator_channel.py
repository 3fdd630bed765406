"""gRPC connections to a mediator that has been judged."""

import grpc
import grpc.aio

from p2p_peer.mediator_identity import MediatorIdentity

__all__ = ["open_channel"]

_OPTIONS = (
    ("grpc.keepalive_time_ms", 20_000),  # shorter than routers forget an idle TCP mapping; the mediator allows it
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),  # else it stops asking after two, and a dead mediator goes unnoticed
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),  # else two to one mediator share a TCP connection, and bulk stalls the other
)
# For a mediator that stands still, whose system goes on acknowledging: gRPC itself takes 60 s. Where much is relayed,
# an answer may wait longer behind it, and gRPC asks not only when nothing else comes.
_PING_TIMEOUT = ("grpc.http2.ping_timeout_ms", 10_000)


def open_channel(mediator: MediatorIdentity, max_message: int, *, is_bulk: bool = False) -> grpc.aio.Channel:
    """Return a TCP connection of its own to `mediator`, that takes messages of up to `max_message` bytes.

    It takes no certificate but the one that was judged. `is_bulk`: there may be much on it.
    """
    host = f"[{mediator.address.host}]" if mediator.address.ip.version == 6 else mediator.address.host
    target = f"ipv{mediator.address.ip.version}:{host}:{mediator.address.port}"
    options = [*_OPTIONS, ("grpc.max_receive_message_length", max_message), *([] if is_bulk else [_PING_TIMEOUT])]
    if mediator.id is None:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(root_certificates=mediator.leaf_pem)
    override = ("grpc.ssl_target_name_override", mediator.leaf_name)
    return grpc.aio.secure_channel(target, credentials, options=[*options, override])
