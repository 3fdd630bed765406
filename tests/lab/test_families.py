"""Hosts with IPv6 only, with IPv4 only, and names that resolve to more addresses than there are."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from tests.altered import altered
from tests.lab.cable import LINK_LOCAL, Cable
from tests.programs import Keys, Peer, Programs, Start

pytestmark = [
    pytest.mark.netns,
    pytest.mark.skipif(not Path("/proc/sys/net/ipv6").exists(), reason="this kernel has no IPv6"),
]

MED4, MED6 = "10.9.0.1", "2001:db8::1"
A4, A6, B4, B6 = "10.9.0.11", "2001:db8::11", "10.9.0.12", "2001:db8::12"
NAME = "mediator.test"
QUICK = {"p2p_core.machines.tcp_punch.PUNCH_TIME": 2.0}  # on a cable, all is said in a moment


def on(cable: Cable, host: str) -> Start:
    return partial(cable.popen, host, text=True)


def meet(
    cable: Cable, programs: Programs, keys: tuple[Keys, Keys], folder: Path, alices: str, bobs: str, *flags: str
) -> tuple[Peer, Peer]:
    """Let Alice on a and Bob on b send each other a message, each through one of the mediator's addresses."""
    alice, bob = keys
    (folder / "file").write_text("content")
    mediator = programs.mediator(folder / "mediator", keys, start=on(cable, "med"), host="::")
    a, b = (altered(limits=QUICK, start=on(cable, host)) for host in ("a", "b"))
    sends = [*flags, "--message", "from a", "--send", folder / "file"]
    receives = [*flags, "--message", "from b", "--receive", folder / "inbox", "--yes"]
    one = programs.peer("alice", replace(mediator, host=alices), alice, bob, *sends, start=a)
    other = programs.peer("bob", replace(mediator, host=bobs), bob, alice, *receives, start=b)
    return one, other


@pytest.mark.parametrize(
    ("med", "a", "b", "alices", "bobs", "over"),
    [
        ([MED6], [A6], [B6], MED6, MED6, 6),
        ([MED4, LINK_LOCAL], [A4], [B4], MED4, MED4, 4),
        ([MED6, MED4], [A6, A4], [B4], MED6, MED4, 4),
        ([MED6, MED4], [A4], [B6, B4], MED4, MED6, 4),
        ([MED6, MED4], [A6, A4], [B6], MED4, MED6, 6),
        ([MED6, MED4], [A4, LINK_LOCAL], [B4, LINK_LOCAL], MED4, MED4, 4),
    ],
    ids=["IPv6 only", "IPv4 only", "dual and IPv4", "IPv4 and dual", "dual and IPv6", "link-local IPv6"],
)
def test_two_hosts_meet_over_what_both_have(
    med: list[str],
    a: list[str],
    b: list[str],
    alices: str,
    bobs: str,
    over: int,
    programs: Programs,
    keys: tuple[Keys, Keys],
    tmp_path: Path,
) -> None:
    with Cable({"med": med, "a": a, "b": b}) as cable:
        alice, bob = meet(cable, programs, keys, tmp_path, alices, bobs)
        assert (alice.exit_code(), bob.exit_code()) == (0, 0), (alice.events, bob.events)
        expected = {4: (B4, A4), 6: (f"[{B6}]", f"[{A6}]")}[over]
        for peer, address in zip((alice, bob), expected, strict=True):
            assert peer.wait_for("connected")["address"].rpartition(":")[0] == address
        assert (tmp_path / "inbox" / "file").read_text() == "content"


def test_nothing_in_common_is_relayed(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    with Cable({"med": [MED6, MED4], "a": [A6], "b": [B4]}) as cable:
        alice, bob = meet(cable, programs, keys, tmp_path, MED6, MED4)
        assert (alice.exit_code(), bob.exit_code()) == (0, 0)
        assert [peer.wait_for("connected")["path"] for peer in (alice, bob)] == ["relay", "relay"]
        assert (tmp_path / "inbox" / "file").read_text() == "content"


def test_nothing_in_common_and_no_relay_is_6(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    with Cable({"med": [MED6, MED4], "a": [A6], "b": [B4]}) as cable:
        alice, bob = meet(cable, programs, keys, tmp_path, MED6, MED4, "--direct-only")
        assert (alice.exit_code(), bob.exit_code()) == (6, 6)
        assert f"{B4}:" in alice.all("error")[0]["message"]
        assert f"[{A6}]:" in bob.all("error")[0]["message"]


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.9.0.99", MED4],
        ["2001:db8::99", "10.9.0.99", MED4],
        [B4, MED4],
        [B6, "2001:db8::99", MED6],
        ["10.9.0.99", B4, MED6],
    ],
    ids=["silent", "two silent", "refusing", "refusing and silent", "the other family"],
)
def test_a_name_whose_first_addresses_are_dead(
    addresses: list[str], programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    """The one that answers is taken, and asked as a STUN server too, before the dead ones have timed out."""
    alice, bob = keys
    with Cable({"med": [MED6, MED4], "a": [A6, A4], "b": [B6, B4]}) as cable:
        for dead in ("10.9.0.99", "2001:db8::99"):
            cable.silence("a", dead)
        mediator = programs.mediator(tmp_path / "mediator", keys, start=on(cable, "med"), host="::")
        named = replace(mediator, host=NAME)
        one = programs.peer(
            "alice", named, alice, bob, "--message", "a", start=altered(names={NAME: addresses}, start=on(cable, "a"))
        )
        other = programs.peer("bob", replace(mediator, host=MED4), bob, alice, "--message", "b", start=on(cable, "b"))
        assert (one.exit_code(), other.exit_code()) == (0, 0), (one.events, other.events)


@pytest.mark.parametrize(
    ("a", "addresses"), [([A4], [MED6]), ([A4], [MED6, "2001:db8::2"]), ([A6], [MED4])], ids=["6", "6 and 6", "4"]
)
def test_a_name_with_no_address_of_our_family_is_3(
    a: list[str], addresses: list[str], programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    alice, bob = keys
    with Cable({"med": [MED6, MED4], "a": a}) as cable:
        mediator = programs.mediator(tmp_path / "mediator", keys, start=on(cable, "med"), host="::")
        named = replace(mediator, host=NAME)
        one = programs.peer("alice", named, alice, bob, start=altered(names={NAME: addresses}, start=on(cable, "a")))
        assert one.exit_code() == 3
        [error] = one.all("error")
        assert error["code"] == "mediator-unreachable"
        assert f"cannot reach a mediator at {NAME}:" in error["message"]
        assert "this computer has no way to an address of that kind" in error["message"]
        assert "IPv6" in error["advice"]
