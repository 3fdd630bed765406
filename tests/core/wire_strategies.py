"""Everything that may go over the wire, for hypothesis."""

from dataclasses import replace

from hypothesis import strategies as st
from p2p_core import limits
from p2p_core.manifest import Entry, EntryKind
from p2p_core.ranges import ranges_of
from p2p_core.wire import frames
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping, Offer
from p2p_core.wire.token import MAX_LIFE, Token, fitting

__all__ = ["ADDRESSES", "CANDIDATES", "DIGESTS", "FRAMES", "OFFERS", "PORTS", "TOKENS", "mutated"]

U32, U64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
BYTES_32 = st.binary(min_size=32, max_size=32)
SIGNATURES = st.binary(max_size=64)
TEXTS = st.text(max_size=40)  # of any character but surrogates, which have no form in UTF-8

PORTS = st.integers(1, 65535)
ADDRESSES = st.builds(lambda ip, port: Address.of(str(ip), port), st.ip_addresses(), PORTS)
CANDIDATES = st.builds(Candidate, st.sampled_from(CandidateKind), st.sampled_from(Transport), ADDRESSES)
_FIRST_OFFERS = st.builds(
    Offer,
    issued=U64,
    expires=U64,
    nonce=BYTES_32,
    punch_share=BYTES_32,
    candidates=st.lists(CANDIDATES, max_size=limits.MAX_CANDIDATES).map(tuple),
    udp_mapping=st.sampled_from(Mapping),
    tcp_mapping=st.sampled_from(Mapping),
    udp_port_step=st.integers(-(2**31), 2**31 - 1),
    direct_only=st.booleans(),
)
_FURTHER_OFFERS = st.builds(
    lambda offer, session, channel: replace(offer, session_id=session, channel=channel),
    _FIRST_OFFERS,
    BYTES_32,
    st.integers(1, 2**32 - 1),
)
OFFERS = _FIRST_OFFERS | _FURTHER_OFFERS
TOKENS = st.builds(
    lambda life, step, issued, *rest, udp_mapping, tcp_mapping: Token(
        issued,
        issued + life,
        *rest,
        udp_mapping,
        tcp_mapping,
        step if udp_mapping is Mapping.SEQUENTIAL else 0,
    ),
    st.integers(1, MAX_LIFE),
    st.integers(-128, 127),
    U32,
    st.binary(min_size=12, max_size=12),
    st.binary(min_size=16, max_size=16),
    st.lists(CANDIDATES, max_size=limits.MAX_CANDIDATES).map(fitting),
    udp_mapping=st.sampled_from(Mapping),
    tcp_mapping=st.sampled_from(Mapping),
)

_NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)
ENTRIES = st.builds(
    lambda kind, *rest, target: Entry(kind, *rest, target=target if kind is EntryKind.LINK else ""),
    st.sampled_from(EntryKind),
    st.integers(-(2**31), 2**31 - 1),
    _NAMES,
    U64,
    st.integers(0, 2**16 - 1),
    U64,
    target=_NAMES,
)  # of which a manifest takes few
DIGESTS = st.lists(BYTES_32, min_size=1, max_size=4).map(b"".join)
RANGES = st.sets(st.integers(0, limits.MAX_ENTRIES - 1), max_size=8).map(lambda numbers: ranges_of(sorted(numbers)))
FRAMES: st.SearchStrategy[frames.Frame] = st.one_of(
    st.builds(frames.KeyProof, SIGNATURES),
    st.builds(frames.Introduction, st.binary(max_size=limits.MAX_PUBLIC_KEY_BYTES), BYTES_32, st.just(b"") | BYTES_32),
    st.just(frames.Chosen()),
    st.builds(frames.TextMessage, U64, U64, TEXTS, SIGNATURES),
    st.builds(frames.MessageAck, U64),
    st.builds(
        frames.TransferOffer,
        U32,
        st.integers(1, limits.MAX_ENTRIES),
        st.integers(0, limits.MAX_FILE_BYTES),
        st.integers(limits.MIN_BLOCK_SIZE, limits.MAX_BLOCK_SIZE),
    ),
    st.builds(frames.Entries, U32, st.lists(ENTRIES, max_size=5).map(tuple)),
    st.builds(frames.Have, U32, U32, DIGESTS),
    st.builds(frames.TransferAnswer, U32, st.booleans(), TEXTS, RANGES),
    st.builds(frames.FileFailed, U32, U32, TEXTS),
    st.builds(frames.StreamEnd, U32, st.integers(0, limits.MAX_FILE_BYTES)),
    st.builds(frames.Verified, U32, U32),
    st.builds(frames.TransferEnd, U32, BYTES_32, RANGES, SIGNATURES),
    st.builds(frames.TransferReceipt, U32, U64, RANGES, SIGNATURES),
    st.builds(frames.Cancel, U32, TEXTS),
    st.just(frames.Done()),
    st.builds(frames.Close, TEXTS),
    st.builds(frames.Ping, U64),
    st.builds(frames.Pong, U64, U64),
    st.builds(frames.Resume, U64, st.lists(st.tuples(U32, U32), max_size=5).map(tuple)),
)


@st.composite
def mutated(draw: st.DrawFn, valid: st.SearchStrategy[bytes]) -> bytes:
    """Draw valid bytes with something done to them: a byte changed, cut out, put in or said twice."""
    data = bytearray(draw(valid))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "cut", "insert", "repeat", "end"])):
            case "change" if at < len(data):
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at : at + draw(st.integers(1, 8))]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=8))
            case "repeat":
                data[at:at] = data[: draw(st.integers(0, len(data)))]
            case "end":
                del data[at:]
    return bytes(data)
