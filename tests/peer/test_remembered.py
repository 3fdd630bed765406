import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import Malformed
from p2p_core.identity import PeerId
from p2p_peer.remembered import KnownPeer, Remembered, name_fault, read_remembered, same_name

ONE, OTHER = PeerId(bytes(32)), PeerId(bytes(range(32)))
PEER = {"name": "Bob", "targets": ["b:1"], "verified": True, "first_met": 1, "last_met": 2}
WHOLE = {"version": 1, "mediators": {"m:1": str(ONE)}, "peers": {str(ONE): PEER}}


def read(whole: Any) -> Remembered:
    return read_remembered(json.dumps(whole).encode())


def test_what_a_file_has() -> None:
    remembered = read(WHOLE)
    bob = KnownPeer(ONE, "Bob", ("b:1",), verified=True, first_met=1, last_met=2)
    assert remembered == Remembered({"m:1": ONE}, {ONE: bob})
    assert json.loads(remembered.text()) == WHOLE
    assert (remembered.at("b:1"), remembered.at("m:1")) == (bob, None)
    assert (remembered.named("bob"), remembered.named("alice")) == (bob, None)


def test_nobody() -> None:
    assert json.loads(Remembered().text()) == {"version": 1, "mediators": {}, "peers": {}}


ids = st.binary(min_size=32, max_size=32).map(PeerId)
names = st.none() | st.text(max_size=64).filter(lambda name: name_fault(name) is None)


@st.composite
def remembereds(draw: st.DrawFn) -> Remembered:
    peers: dict[PeerId, KnownPeer] = {}
    targets, named = draw(st.sets(st.text())), set[str]()
    for peer_id in draw(st.sets(ids, max_size=4)):
        name = draw(names)
        if name is not None and name.casefold() in named:
            name = None
        named.add((name or "").casefold())
        own = tuple(targets.pop() for _ in range(min(draw(st.integers(0, 2)), len(targets))))
        peers[peer_id] = KnownPeer(peer_id, name, own, draw(st.booleans()), draw(st.integers()), draw(st.integers()))
    return Remembered(draw(st.dictionaries(st.text(), ids, max_size=4)), peers)


@given(remembereds())
def test_what_is_written_is_read_again(remembered: Remembered) -> None:
    text = remembered.text()
    assert text.isascii()
    assert read_remembered(text) == remembered


@given(st.binary())
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_remembered(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(str(ONE)),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from([*WHOLE, *PEER, str(ONE), str(OTHER), "x"]), children, max_size=6)
    ),
    max_leaves=10,
)


@given(st.sampled_from([*WHOLE, *PEER]), json_values)
def test_any_value_in_any_place(key: str, value: Any) -> None:
    whole = {**WHOLE, "peers": {str(ONE): {**PEER, key: value}}} if key in PEER else {**WHOLE, key: value}
    try:
        remembered = read(whole)
    except Malformed:
        return
    assert read_remembered(remembered.text()) == remembered


@given(st.integers(0, 10_000), st.binary(max_size=3))
def test_one_place_overwritten(where: int, by: bytes) -> None:
    data = json.dumps(WHOLE).encode()
    where %= len(data)
    try:
        remembered = read_remembered(data[:where] + by + data[where + len(by) :])
    except Malformed:
        return
    assert read_remembered(remembered.text()) == remembered


def peers(*changes: dict[str, Any]) -> dict[str, Any]:
    """Peers of which each differs in this from the one above."""
    entries = {str(PeerId(bytes([n]) * 32)): PEER | change for n, change in enumerate(changes)}
    return WHOLE | {"peers": entries}


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in PEER.items() if name != key}


@pytest.mark.parametrize(
    ("whole", "why"),
    [
        ([], "no version"),
        ({}, "no version"),
        (WHOLE | {"version": True}, "no version"),
        (WHOLE | {"version": "1"}, "no version"),
        (WHOLE | {"version": 2}, "another version"),
        ({"version": 2}, "another version"),
        ({"version": 1}, "other parts"),
        (WHOLE | {"friends": {}}, "other parts"),
        (WHOLE | {"peers": []}, "a part of it is missing"),
        (WHOLE | {"mediators": None}, "a part of it is missing"),
        (WHOLE | {"mediators": {"m:1": 5}}, "an id"),
        (WHOLE | {"mediators": {"m:1": "x" * 10_000}}, "an id"),
        (WHOLE | {"mediators": {"m:1": str(ONE).upper()}}, "an id"),
        (WHOLE | {"peers": {"x": PEER}}, "an id"),
        (WHOLE | {"peers": {str(ONE): []}}, "a part of it is missing"),
        *((WHOLE | {"peers": {str(ONE): without(key)}}, "of a peer") for key in PEER),
        (peers({"age": 5}), "of a peer"),
        (peers({"name": 5}), "of a peer"),
        (peers({"name": ""}), "a name"),
        (peers({"name": "\x1b[2J"}), "a name"),
        (peers({"targets": "b:1"}), "of a peer"),
        (peers({"targets": [1]}), "an address"),
        (peers({"verified": 1}), "of a peer"),
        (peers({"first_met": "1"}), "of a peer"),
        (peers({"first_met": 1.5}), "of a peer"),
        (peers({"last_met": None}), "of a peer"),
        (peers({}, {"targets": []}), "the same name"),
        (peers({}, {"name": "bOB", "targets": []}), "the same name"),
        (peers({}, {"name": None}), "at the same address"),
        (peers({"targets": ["b:1", "b:1"]}), "at the same address"),
    ],
)
def test_a_damaged_file(whole: Any, why: str) -> None:
    with pytest.raises(Malformed, match=why) as caught:
        read(whole)
    assert len(str(caught.value)) < 80


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 200_000, b"9" * 5000, b'{"version": 1'])
def test_no_json(data: bytes) -> None:
    with pytest.raises(Malformed, match="it is no JSON"):
        read_remembered(data)


@pytest.mark.parametrize("name", ["Bob", "b", "Bob at work", "Ольга", "a" * 64, "1", "bob@home", "b.b"])
def test_a_name(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize(
    "name",
    ["", " ", " Bob", "Bob\n", "a" * 65, "a\x1b[2Jb", "a\u202eb", "\ud800", "-b", "b:1", str(ONE), str(ONE).upper()],
)
def test_no_name(name: str) -> None:
    assert name_fault(name)


def test_the_same_name() -> None:
    assert same_name("Straße", "STRASSE")
    assert not same_name("bob", "bobby")
