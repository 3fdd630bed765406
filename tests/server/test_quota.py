import pytest
from p2p_core.wire.candidate import Address
from p2p_server.quota import Place, Quota, source_of


def test_places_in_all_and_for_each_source() -> None:
    quota = Quota(total=3, per_source=2)
    assert [quota.enter(b"a"), quota.enter(b"a"), quota.enter(b"a"), quota.enter(b"b"), quota.enter(b"c")] == [
        True,
        True,
        False,
        True,
        False,
    ]
    quota.leave(b"a")
    assert quota.enter(b"c")
    assert quota.inside == 3


def test_who_enters_anyway_is_counted_like_the_others() -> None:
    quota = Quota(total=2, per_source=1)
    assert quota.enter(b"a")
    quota.enter_anyway(b"a")
    assert not quota.enter(b"b")
    quota.leave(b"a")
    assert not quota.enter(b"a")
    assert quota.enter(b"b")


def test_sources_need_not_be_counted() -> None:
    quota = Quota(total=3, per_source=None)
    assert [quota.enter(b"") for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
    ],
)
def test_an_ipv6_customer_is_one_source(one: str, other: str, same: bool) -> None:
    assert (source_of(Address.of(one, 1)) == source_of(Address.of(other, 2))) is same


def test_a_place_is_taken_and_given_back_once() -> None:
    quota = Quota(1, None)
    first, second = Place(quota, b"a"), Place(quota, b"b")
    assert first.take()
    assert first.take()
    assert quota.inside == 1
    assert not second.take()
    second.give_back()
    assert quota.inside == 1
    second.take_anyway()
    second.take_anyway()
    assert quota.inside == 2
    for place in (first, first, second):
        place.give_back()
    assert quota.inside == 0
