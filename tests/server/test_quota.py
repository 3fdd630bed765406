import pytest
from p2p_core.wire.candidate import Address
from p2p_server.quota import Beginners, Place, Quota, source_of


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
    beginners, over, ended = Beginners(2, 1), Quota(9, None), []
    first, second = Place(beginners, over, b"a"), Place(beginners, over, b"a")
    assert first.take(lambda: ended.append(1))
    assert first.take(lambda: ended.append(1))
    assert beginners.inside == 1
    assert not second.take(lambda: ended.append(2))  # too many of one source; nobody has to go for that
    second.give_back()
    assert beginners.inside == 1
    for one in (first, first, second):
        one.give_back()
    assert (beginners.inside, over.inside, ended) == (0, 0, [])


def test_the_oldest_makes_room_for_the_newest() -> None:
    beginners, over, ended = Beginners(2, None), Quota(9, None), []
    places = [Place(beginners, over, bytes([number])) for number in range(4)]
    for number, one in enumerate(places):
        assert one.take(lambda number=number: ended.append(number))
    assert (ended, beginners.inside, over.inside) == ([0, 1], 2, 2)
    places[2].proved()
    assert Place(beginners, over, b"z").take(lambda: None)
    assert ended == [0, 1]


def test_who_may_not_begin_pushes_nobody_out() -> None:
    beginners, over, ended = Beginners(2, 1), Quota(9, None), []
    for source in (b"a", b"b"):
        assert Place(beginners, over, source).take(lambda source=source: ended.append(source))
    for _ in range(3):
        assert not Place(beginners, over, b"b").take(lambda: None)  # all places are taken, and b has what it may
    assert (ended, beginners.inside) == ([], 2)
    assert Place(beginners, over, b"c").take(lambda: None)
    assert ended == [b"a"]


def test_who_is_over_takes_no_place_of_those_that_begin() -> None:
    beginners, over = Beginners(1, None), Quota(9, 9)
    first, second = Place(beginners, over, b"a"), Place(beginners, over, b"a")
    assert first.take(lambda: None)
    first.proved()
    first.linger()
    first.linger()
    assert (beginners.inside, over.inside) == (0, 1)
    assert second.take(lambda: None)
    second.linger()
    assert (beginners.inside, over.inside) == (0, 2)
    for one in (first, second):
        one.give_back()
    assert (beginners.inside, over.inside) == (0, 0)


def test_nobody_begins_where_too_many_are_over() -> None:
    beginners, over = Beginners(9, None), Quota(9, 1)
    first, second, other = (Place(beginners, over, source) for source in (b"a", b"a", b"b"))
    first.linger()
    assert (second.take(lambda: None), other.take(lambda: None)) == (False, True)
    second.linger()
    assert over.inside == 2
    first.give_back()
    second.give_back()
    assert Place(beginners, over, b"a").take(lambda: None)


def test_of_no_places_none_can_be_pushed_out() -> None:
    beginners, over = Beginners(0, None), Quota(9, None)
    assert not Place(beginners, over, b"a").take(lambda: None)
    assert beginners.inside == 0
