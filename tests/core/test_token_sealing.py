import functools
from dataclasses import replace

import pytest
from hypothesis import given
from p2p_core import limits
from p2p_core.errors import TokenExpired, TokenRejected
from p2p_core.token_sealing import check_slot, check_times, open_token, seal_token, token_key
from p2p_core.wire.token import MAX_LIFE, SLOT, Token
from p2p_core.wire.token_text import SealedToken, parse

from tests.core.test_token import KEY, SIV, TYPICAL, token
from tests.core.two_peers import NOW
from tests.core.wire_strategies import TOKENS

TOKEN = token(*TYPICAL)  # lives for 600 s
SKEW = limits.MAX_CLOCK_SKEW

derived = functools.cache(token_key)


@given(TOKENS)
def test_what_is_sealed_is_opened(sent: Token) -> None:
    assert open_token(seal_token(sent, KEY), KEY) == sent


def test_a_phrase_opens_what_it_sealed() -> None:
    key = derived("blue cat", NOW // SLOT)
    assert len(key) == 64
    assert open_token(parse(seal_token(TOKEN, key).text), key) == TOKEN


@pytest.mark.parametrize("spelt", ["  blue\tcat\n", "blue\u3000cat", "ｂｌｕｅ cat"])
def test_how_a_phrase_is_spelt_does_not_matter(spelt: str) -> None:
    assert token_key(spelt, NOW // SLOT) == derived("blue cat", NOW // SLOT)


def test_every_phrase_and_slot_has_a_key_of_its_own() -> None:
    slots = [("blue cat", NOW // SLOT), ("Blue cat", NOW // SLOT), ("", NOW // SLOT), ("blue cat", NOW // SLOT + 1)]
    assert len({derived(*one) for one in slots}) == len(slots)


def test_a_phrase_that_is_no_unicode_is_taken() -> None:
    assert len(token_key("\udcff", 0)) == 64


def test_another_phrase_is_named() -> None:
    sealed = seal_token(TOKEN, derived("blue cat", NOW // SLOT))
    for phrase in ("Blue cat", ""):
        with pytest.raises(TokenRejected, match="made with another phrase, or by another kind of program"):
            open_token(sealed, derived(phrase, NOW // SLOT))


def test_no_bit_of_a_sealed_token_can_be_changed() -> None:
    sealed = seal_token(TOKEN, KEY)
    for bit in range(8 * len(sealed.sealed)):
        changed = bytearray(sealed.sealed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(TokenRejected):
            open_token(replace(sealed, sealed=bytes(changed)), KEY)
    for issued in (NOW - 1, NOW + 1, NOW - 3600):  # nobody makes it younger
        with pytest.raises(TokenRejected):
            open_token(replace(sealed, issued=issued), KEY)


def test_what_another_program_sealed_is_not_taken() -> None:
    plain = SealedToken(NOW, SIV.encrypt(bytes(40), [b"another program's label"]))
    with pytest.raises(TokenRejected):
        open_token(plain, KEY)


def test_content_that_does_not_parse_is_the_other_side_s_fault() -> None:
    sealed = seal_token(TOKEN, KEY)
    context = [bytes.fromhex("0000000f") + b"punchwire token" + b"\0\0\0\x011" + b"\0\0\0\x04" + NOW.to_bytes(4, "big")]
    content = SIV.decrypt(sealed.sealed, context)
    with pytest.raises(TokenRejected, match="made a bad token: a token whose content ends too early"):
        open_token(SealedToken(NOW, SIV.encrypt(content[:-1], context)), KEY)


def test_tokens_alike_in_all_but_the_share_have_nothing_in_common() -> None:
    one, other = (seal_token(replace(TOKEN, share=bytes([n] * 12)), KEY).sealed for n in range(2))
    assert sum(a == b for a, b in zip(one, other, strict=True)) < 8


def test_nothing_of_the_content_shows() -> None:
    sealed = seal_token(TOKEN, KEY).sealed
    for secret in (TOKEN.share, TOKEN.fingerprint, TOKEN.candidates[0].address.ip.packed):
        assert secret not in sealed


@pytest.mark.parametrize("now", [NOW - SKEW, NOW, NOW + 600])
def test_a_token_is_good_from_issue_to_expiry_and_for_clocks_that_differ(now: float) -> None:
    check_slot(seal_token(TOKEN, KEY), now)
    check_times(TOKEN, now)


def test_a_life_goes_on_into_the_next_slot() -> None:
    last = NOW // SLOT * SLOT + SLOT - 1
    late = replace(TOKEN, issued=last, expires=last + 600)
    sealed = seal_token(late, KEY)
    check_slot(sealed, last + 590)
    check_times(open_token(sealed, KEY), last + 590)
    assert sealed.slot == NOW // SLOT != (last + 590) // SLOT


@pytest.mark.parametrize(
    ("after", "says"),
    [
        (0.5, "0 seconds"),
        (36, "36 seconds"),
        (121, "2 minutes"),
        (900, "15 minutes"),
        (3600, "60 minutes"),
        (86400, "24 hours"),
    ],
)
def test_an_expired_token_says_how_long_ago(after: float, says: str) -> None:
    with pytest.raises(TokenExpired, match=f"the token expired {says} ago"):
        check_times(TOKEN, TOKEN.expires + after)


def test_a_token_that_no_life_reaches_is_refused_before_its_key_is_derived() -> None:
    sealed = SealedToken(NOW, bytes(46))
    check_slot(sealed, NOW + MAX_LIFE)
    with pytest.raises(TokenExpired, match="the token is 60 minutes old, and none is good for longer than 60 minutes"):
        check_slot(sealed, NOW + MAX_LIFE + 1)
    with pytest.raises(TokenExpired, match="the token is 365 days old"):
        check_slot(sealed, NOW + 365 * 86400)


@pytest.mark.parametrize(("ahead", "says"), [(SKEW + 1, "2 minutes"), (3 * 3600, "3 hours"), (2**31, "24855 days")])
def test_a_token_from_the_future_says_how_far(ahead: int, says: str) -> None:
    for check in (
        lambda: check_slot(SealedToken(NOW, bytes(46)), NOW - ahead),
        lambda: check_times(TOKEN, NOW - ahead),
    ):
        with pytest.raises(TokenRejected, match=f"the future: by this computer's clock, {says} from now$") as caught:
            check()
        assert not isinstance(caught.value, TokenExpired)
        assert "date -u" in caught.value.advice
