import pytest
from p2p_peer.host_port import at, canonical, split


@pytest.mark.parametrize(
    ("host", "text"),
    [("bob.example", "bob.example:80"), ("127.0.0.1", "127.0.0.1:80"), ("fe80::1%eth0", "[fe80::1%eth0]:80")],
)
def test_how_a_place_is_written(host: str, text: str) -> None:
    assert at(host, 80) == text


@pytest.mark.parametrize(
    ("text", "both"),
    [
        ("bob.example:80", ("bob.example", 80)),
        ("[::1]:80", ("[::1]", 80)),
        ("bob.example", None),
        ("::1", None),
        ("[::1]", None),
        ("bob:eighty", None),
        ("bob:\N{ARABIC-INDIC DIGIT ONE}", None),
        ("bob:" + "1" * 5000, None),
        ("", None),
    ],
)
def test_host_and_port(text: str, both: tuple[str, int] | None) -> None:
    assert split(text) == both


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("LocalHost:80", "localhost:80"),
        ("bob.example.:080", "bob.example:80"),
        ("127.1:80", "127.0.0.1:80"),
        ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
        ("0x7f000001:80", "127.0.0.1:80"),
        ("[0:0:0:0:0:0:0:1]:80", "[::1]:80"),
        ("[2001:DB8::A]:80", "[2001:db8::a]:80"),
        ("[fe80::1%eth0]:80", "[fe80::1%eth0]:80"),
        ("bob:80", "bob:80"),
        ("Bob", "Bob"),
    ],
)
def test_one_spelling(text: str, spelling: str) -> None:
    assert canonical(text) == spelling
    assert canonical(spelling) == spelling
