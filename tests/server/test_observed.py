import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from p2p_server.observed import from_grpc, from_socket


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("ipv4:192.0.2.1:5000", "192.0.2.1:5000"),
        ("ipv6:[2001:db8::1]:5000", "[2001:db8::1]:5000"),
        ("ipv6:%5B2001:db8::1%5D:5000", "[2001:db8::1]:5000"),
        ("ipv6:%5Bfe80::1%25eth0%5D:5000", "[fe80::1]:5000"),
        ("ipv6:%5Bfe80::1%252%5D:5000", "[fe80::1]:5000"),
        ("ipv6:[::ffff:192.0.2.1]:5000", "192.0.2.1:5000"),
        ("unix:/run/socket", "None"),
        ("unix:", "None"),
        ("", "None"),
        ("ipv4:192.0.2.1", "None"),
        ("ipv4:192.0.2.1:0", "None"),
        ("ipv4:192.0.2.1:70000", "None"),
        ("ipv4:example.org:80", "None"),
        ("ipv4:192.0.2.1:²", "None"),
    ],
)
def test_what_grpc_says(peer: str, expected: str) -> None:
    assert str(from_grpc(peer)) == expected


@settings(deadline=None)
@given(st.text())
def test_anything_else_is_nothing(text: str) -> None:
    from_grpc(text)
    from_grpc(f"ipv6:{text}")


def test_what_a_socket_says() -> None:
    assert str(from_socket("::ffff:192.0.2.1", 80)) == "192.0.2.1:80"
    assert str(from_socket("fe80::1%eth0", 80)) == "[fe80::1]:80"
