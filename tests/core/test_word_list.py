from p2p_core.word_list import spell

EVEN = spell(bytes(byte for value in range(256) for byte in (value, 0)))[0::2]
ODD = spell(bytes(byte for value in range(256) for byte in (0, value)))[1::2]


def test_every_byte_has_its_own_word_at_each_place() -> None:
    assert len(set(EVEN)) == len(set(ODD)) == 256
    assert not set(EVEN) & set(ODD)  # else a swapped word would not be heard


def test_words_are_plain() -> None:
    assert all(word.isascii() and word.isalpha() and word.islower() for word in EVEN + ODD)


def test_the_even_words_are_in_order() -> None:
    assert list(EVEN) == sorted(EVEN)
    swapped = sorted(ODD)
    at = swapped.index("apollo")
    swapped[at], swapped[at + 1] = swapped[at + 1], swapped[at]  # the list's own irregularity: "applicant" is 09
    assert list(ODD) == swapped


def test_the_fingerprint_that_everybody_quotes() -> None:
    fingerprint = bytes.fromhex("E58294F2E9A227486E8B061B31CC528FD7FA3F19")  # Wikipedia, "PGP word list"
    assert spell(fingerprint) == tuple(
        """
        topmost istanbul pluto vagabond treadmill pacific brackish dictator goldfish medusa
        afflict bravado chatter revolver dupont midsummer stopwatch whimsical cowbell bottomless
        """.split()
    )


def test_nothing_is_spelled_as_nothing() -> None:
    assert spell(b"") == ()
