import itertools
import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.errors import TokenRejected, TokenUnreadable
from p2p_core.token_sealing import open_token, seal_token
from p2p_core.wire.token_text import SealedToken, cleaned, is_partial, parse

from tests.core.test_token import KEY, TYPICAL, token
from tests.core.two_peers import NOW
from tests.core.wire_strategies import TOKENS

TOKEN = token(*TYPICAL)
SEALED = seal_token(TOKEN, KEY)
TEXT = SEALED.text
LENGTH = len(TEXT)
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

SEALED_TOKENS = st.builds(SealedToken, st.integers(0, 2**32 - 1), st.binary(min_size=46, max_size=107))
PASTED_ALONG = st.text(st.characters(exclude_categories=("L", "N", "Cs")), max_size=3)


@given(SEALED_TOKENS)
def test_a_sealed_token_survives(sealed: SealedToken) -> None:
    text = sealed.text
    assert re.fullmatch("1[0-9A-Za-z]{71,153}", text)
    assert parse(text) == sealed
    assert parse(text).digest == sealed.digest
    assert sealed.slot == sealed.issued // 3600


@given(TOKENS)
def test_a_token_survives_as_text(sent: object) -> None:
    assert open_token(parse(seal_token(sent, KEY).text), KEY) == sent  # type: ignore[arg-type]


@given(SEALED_TOKENS, st.data())
def test_whatever_is_not_a_letter_or_digit_is_passed_over(sealed: SealedToken, data: st.DataObject) -> None:
    text = "".join(data.draw(PASTED_ALONG) + character for character in sealed.text) + data.draw(PASTED_ALONG)
    assert parse(text) == sealed


BROKEN = "\n".join(TEXT[at : at + 40] for at in range(0, LENGTH, 40))
SPACED = " ".join(TEXT[at : at + 5] for at in range(0, LENGTH, 5))


@pytest.mark.parametrize(
    "pasted",
    [
        f"  {TEXT}\n",
        f"\t{TEXT}\r\n",
        BROKEN,
        BROKEN.replace("\n", "\r\n"),
        SPACED,
        f'"{TEXT}"',
        f"'{TEXT}'",
        f"“{TEXT}”",
        f"«{TEXT}»",
        f"`{TEXT}`",
        f"```\n{BROKEN}\n```\n",
        f"**{TEXT}**",
        f"_{TEXT}_",
        f"~~{TEXT}~~",
        f"# {TEXT}",
        f"* {TEXT}",
        "> " + BROKEN.replace("\n", "\n> "),
        "\n".join(f"| {line} |" for line in BROKEN.split("\n")),
        f"<{TEXT}>",
        f"({TEXT}).",
        f"{TEXT},",
        BROKEN.replace("\n", "-\n"),
        BROKEN.replace("\n", "=\n"),
        BROKEN.replace("\n", "\\\n"),
        "\ufeff" + TEXT,
        "\u200b".join(TEXT),
        f"\u2066{TEXT}\u2069",
        f"{TEXT[:50]}\u00ad{TEXT[50:]}",
        f"{TEXT[:50]}\u200d{TEXT[50:80]}\u2060{TEXT[80:]}\u202f",
        f"{TEXT} \N{THUMBS UP SIGN}\ufe0f",
    ],
)
def test_what_pasting_adds_does_not_matter(pasted: str) -> None:
    assert cleaned(pasted) == TEXT
    assert parse(pasted) == SEALED


OTHER = SealedToken(SEALED.issued, bytes(60)).text


@pytest.mark.parametrize(
    "pasted",
    [
        f"Bob: {TEXT}",
        f"here it is: `{TEXT}`, good for 10 minutes",
        f"{TEXT} {TEXT}",
        f"1st try:\n{TEXT}\n— Bob",
        f"{TEXT}\n{TEXT[:40]}",
        TEXT + " x" * 1_000_000,
    ],
)
def test_the_one_token_in_a_text_is_found(pasted: str) -> None:
    assert parse(pasted) == SEALED


def test_one_of_two_tokens_is_not_chosen() -> None:
    assert refusal(f"mine: {TEXT} yours: {OTHER} {TEXT}") == "there are 2 different tokens in this"


def test_what_stands_behind_more_than_anybody_pastes_is_not_looked_at() -> None:
    assert refusal("- " * 50_000 + TEXT) == "there is no token: not a letter or digit"
    assert refusal(f"{TEXT[:50]}{'x' * 10**8}").startswith("the token is too long: 65536 characters")


def refusal(text: str) -> str:
    with pytest.raises(TokenUnreadable) as caught:
        parse(text)
    return str(caught.value)


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\u200b", '""', "---", "…"])
def test_nothing_is_no_token(text: str) -> None:
    assert refusal(text) == "there is no token: not a letter or digit"


@pytest.mark.parametrize(
    "text", ["hello", "ssh-rsa AAAA", "é" + TEXT[1:], TEXT + "é", "0" + TEXT[1:], "\u0661" + TEXT[1:]]
)
def test_something_else_is_no_token(text: str) -> None:
    assert refusal(text).startswith("this is not a token: ")


@pytest.mark.parametrize("count", range(2, LENGTH))
def test_a_truncated_token_says_how_much_is_missing(count: int) -> None:
    assert refusal(TEXT[:count]) == f"the token is cut off: it lacks {LENGTH - count} of its {LENGTH} characters"


def test_a_token_of_one_character_is_cut_off() -> None:
    assert refusal("1") == "the token is cut off after its first character"


@pytest.mark.parametrize("more", ["0", "xyz", TEXT])
def test_a_token_that_is_too_long_says_so(more: str) -> None:
    assert refusal(TEXT + more) == f"the token is too long: {LENGTH + len(more)} characters, where it has {LENGTH}"


@pytest.mark.parametrize("version", "23456789")
def test_another_version_is_named(version: str) -> None:
    assert refusal(version + TEXT[1:]) == f"this is a token of version {version}, and this program reads version 1"


AN_END = "; if this is the end of a token, paste it from its first character"


@pytest.mark.parametrize("first", "02Az")
def test_the_end_of_a_token_is_taken_for_what_it_is(first: str) -> None:
    assert refusal(f"> {first}{TEXT[60:]}").endswith(AN_END)


@pytest.mark.parametrize(
    "text",
    [
        "hello, is that what I am to paste here?",
        "z" * 19,
        "z" * 30 + "é",
        "2" + TEXT[1:],
        TEXT[:-1],
        TEXT + "x",
    ],
)
def test_what_is_no_end_of_a_token_is_not_taken_for_one(text: str) -> None:
    assert not refusal(text).endswith(AN_END)


def test_one_character_changed_is_found_wherever_it_is() -> None:
    for at in range(2, LENGTH):
        for digit in DIGITS:
            if digit != TEXT[at]:
                assert refusal(TEXT[:at] + digit + TEXT[at + 1 :]).startswith("the token is mistyped")


def test_a_changed_length_is_found() -> None:
    for digit in DIGITS:
        if digit != TEXT[1]:
            assert refusal(TEXT[0] + digit + TEXT[2:]).startswith(("the token is cut off", "the token is too long"))


def test_two_swapped_characters_are_found_wherever_they_are() -> None:
    for one, other in itertools.combinations(range(2, LENGTH), 2):
        swapped = list(TEXT)
        swapped[one], swapped[other] = swapped[other], swapped[one]
        if "".join(swapped) != TEXT:
            assert refusal("".join(swapped)).startswith("the token is mistyped")


def test_the_largest_number_of_that_length_is_no_token() -> None:
    """More than its bytes can hold: a text is the only one of its token."""
    assert refusal(TEXT[:2] + "z" * (LENGTH - 2)).startswith("the token is mistyped")


@pytest.mark.parametrize("count", range(LENGTH))
def test_the_beginning_of_a_token_is_partial(count: int) -> None:
    assert is_partial(TEXT[:count])
    assert is_partial(f"> {TEXT[:count]}\n")


@pytest.mark.parametrize("text", [TEXT, TEXT + "x", BROKEN, "2", "2" + TEXT[1:50], "hello", "h", "1é", TEXT[:40] + "é"])
def test_what_no_next_line_makes_a_token_is_not_partial(text: str) -> None:
    assert not is_partial(text)


@given(st.text(max_size=200) | st.text(DIGITS, max_size=160).map(lambda rest: "1" + rest))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        sealed = parse(text)
    except TokenUnreadable:
        return
    assert not is_partial(text)
    assert sealed.text == cleaned(text)


def change(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    return text[:at] + chance.choice(DIGITS) + text[at + 1 :]


def swap(text: str, chance: random.Random) -> str:
    characters = list(text)
    one, other = chance.randrange(len(text)), chance.randrange(len(text))
    characters[one], characters[other] = characters[other], characters[one]
    return "".join(characters)


def cut(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    return text[:at] + text[at + chance.randint(1, 8) :]


def end(text: str, chance: random.Random) -> str:
    return text[: chance.randrange(len(text))]


def insert(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + "".join(chance.choices(DIGITS, k=chance.randint(1, 4))) + text[at:]


def paste(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text) + 1)
    return text[:at] + chance.choice(" \n\t\"'`*_>-\u200b\ufeff\u2060…é²") + text[at:]


def any_character(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    return (
        text[:at] + chr(chance.choice([chance.randrange(0xD800), chance.randrange(0xE000, 0x110000)])) + text[at + 1 :]
    )


def repeat(text: str, chance: random.Random) -> str:
    return text + text[: chance.randrange(len(text))]


def other_case(text: str, chance: random.Random) -> str:
    return chance.choice([str.upper, str.lower, str.swapcase])(text)


def turn(text: str, chance: random.Random) -> str:
    at = chance.randrange(len(text))
    return text[at:] + text[:at]


MUTATIONS: list[Callable[[str, random.Random], str]] = [
    change,
    swap,
    cut,
    end,
    insert,
    paste,
    paste,
    any_character,
    repeat,
    other_case,
    turn,
]


def test_10_000_mutated_tokens() -> None:
    """Each is refused with an error that was made for it, or is the token that it was made of."""
    chance = random.Random(6)
    refused = taken = 0
    for _ in range(10_000):
        text = TEXT
        for _ in range(chance.randint(1, 3)):
            text = chance.choice(MUTATIONS)(text or TEXT, chance)
        try:
            found = open_token(parse(text), KEY)
        except (TokenUnreadable, TokenRejected):
            assert cleaned(text) != TEXT
            refused += 1
        else:
            assert cleaned(text) == TEXT
            assert found == TOKEN
            taken += 1
    assert refused > 7000
    assert taken > 500


def test_a_token_tells_when_it_was_issued_before_it_is_opened() -> None:
    assert parse(TEXT).issued == NOW
    assert parse(TEXT).slot == NOW // 3600
