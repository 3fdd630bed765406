from collections import deque
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core import packet_budget
from p2p_core.packet_budget import MAX_ADDRESSES, MAX_UNANSWERED, SILENCE, PacketBudget

HERE, THERE = ip_address("192.0.2.1"), ip_address("2001:db8::1")


def spend(budget: PacketBudget, count: int, now: float = 0.0) -> int:
    """Ask for `count` packets to `HERE`; return how many were allowed."""
    return sum(budget.spend(HERE, now) for _ in range(count))


def test_the_bound_is_what_the_design_says() -> None:
    assert (MAX_UNANSWERED, SILENCE) == (3000, 600.0)


def test_so_many_and_no_more() -> None:
    budget = PacketBudget()
    assert spend(budget, 2 * MAX_UNANSWERED) == MAX_UNANSWERED
    assert not budget.spend(HERE, SILENCE - 0.001)


def test_another_address_has_its_own() -> None:
    budget = PacketBudget()
    spend(budget, MAX_UNANSWERED)
    assert budget.spend(THERE, 0.0)


def test_an_answer_starts_it_anew() -> None:
    budget = PacketBudget()
    spend(budget, MAX_UNANSWERED)
    budget.answered(THERE, 1.0)
    assert not budget.spend(HERE, 1.0)
    budget.answered(HERE, 1.0)
    assert spend(budget, 2 * MAX_UNANSWERED, 1.0) == MAX_UNANSWERED


def test_silence_starts_it_anew() -> None:
    budget = PacketBudget()
    assert spend(budget, MAX_UNANSWERED - 1) == MAX_UNANSWERED - 1
    assert spend(budget, 9, 10.0) == 1
    assert not budget.spend(HERE, SILENCE + 9.999)
    assert spend(budget, 2 * MAX_UNANSWERED, SILENCE + 10.0) == MAX_UNANSWERED


def test_asking_in_vain_does_not_prolong_it() -> None:
    budget = PacketBudget()
    spend(budget, MAX_UNANSWERED)
    assert [budget.spend(HERE, now) for now in (100.0, 300.0, 599.0, 600.0)] == [False, False, False, True]


def test_what_is_remembered_is_bounded() -> None:
    budget = PacketBudget()
    ips = [ip_address(n + 1) for n in range(MAX_ADDRESSES + 1)]
    assert [budget.spend(ip, 0.0) for ip in ips] == [True] * MAX_ADDRESSES + [False]
    assert budget.spend(ips[0], 1.0)
    assert len(budget._unanswered) == MAX_ADDRESSES
    assert budget.spend(ips[-1], SILENCE)
    assert len(budget._unanswered) == len(budget._hosts) == 2


def test_an_address_is_asked_for_in_vain_without_a_trace() -> None:
    budget = PacketBudget()
    assert not budget.spend(HERE, 0.0, leave=MAX_UNANSWERED)
    assert not budget._unanswered
    assert not budget._hosts


@pytest.mark.parametrize(
    "addresses",
    [
        [f"2001:db8::{n:x}:{n:x}" for n in range(1, 100)],
        ["192.0.2.1", "64:ff9b::c000:201", *(f"2002:c000:201:{n:x}::{n:x}" for n in range(1, 98))],
        [f"fd00:{n:x}::200:5efe:c000:201" for n in range(1, 100)],
        [f"2001:0:{n:x}:1:8000:ec77:3fff:fdfe" for n in range(1, 100)],
    ],
    ids=["one link", "one address of IPv4, by NAT64 and 6to4", "by ISATAP", "by Teredo"],
)
def test_a_host_is_one_however_it_is_addressed(addresses: list[str]) -> None:
    budget = PacketBudget()
    ips = list(map(ip_address, addresses))
    sent = sum(budget.spend(ip, 0.0) for _ in range(MAX_UNANSWERED) for ip in ips)
    assert sent == MAX_UNANSWERED
    assert budget.spend(ip_address("2001:db8:0:1::1"), 0.0), "another has its own"


def test_an_answer_does_not_clear_what_went_to_the_neighbours() -> None:
    budget = PacketBudget()
    victim, accomplice = ip_address("2001:db8::1"), ip_address("2001:db8::2")
    for _ in range(1000):
        assert budget.spend(victim, 0.0)
        assert budget.spend(accomplice, 0.0)
    budget.answered(accomplice, 0.0)
    assert sum(budget.spend(victim, 0.0) for _ in range(MAX_UNANSWERED)) == 2000
    budget.answered(accomplice, 0.0)
    assert not budget.spend(accomplice, 0.0)
    assert budget.spend(victim, SILENCE), "forgotten, each in its time"
    assert len(budget._unanswered) == len(budget._hosts) == 1


@given(st.lists(st.tuples(st.floats(0, 400), st.integers(1, 9)), max_size=30))
def test_never_more_in_any_window(bursts: list[tuple[float, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packet_budget, "MAX_UNANSWERED", 10)
        budget, now = PacketBudget(), 0.0
        sent: deque[float] = deque()
        for pause, count in bursts:
            now += pause
            sent.extend([now] * spend(budget, count, now))
            while sent and sent[0] <= now - SILENCE:
                sent.popleft()
            assert len(sent) <= 10


def test_what_can_wait_leaves_some_for_what_cannot() -> None:
    budget = PacketBudget()
    while budget.spend(HERE, 0.0, leave=100):
        pass
    assert spend(budget, 200) == 100
