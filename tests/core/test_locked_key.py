"""Private keys under a passphrase."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from p2p_core.errors import KeyLocked
from p2p_core.identity import load_key_pair, private_pem
from p2p_core.locked_key import locked_pem

from tests.keys import key

DER = key(0).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize("passphrase", [b"x", b"correct horse battery staple", "¡Öl!".encode(), bytes(range(1, 256))])
def test_what_is_locked_is_read_with_its_passphrase_alone(passphrase: bytes) -> None:
    locked = private_pem(key(0), passphrase)
    assert load_key_pair(locked, passphrase).private_numbers() == key(0).private_numbers()
    for other in (None, b"", passphrase + b"x", passphrase[:-1]):
        with pytest.raises(KeyLocked):
            load_key_pair(locked, other)


@pytest.mark.parametrize("passphrase", [b"a NUL \0 within", b"x" * 2000])
def test_what_openssl_does_not_open_is_read_all_the_same(passphrase: bytes) -> None:
    locked = private_pem(key(0), passphrase)
    assert load_key_pair(locked, passphrase).private_numbers() == key(0).private_numbers()
    with pytest.raises(KeyLocked):
        load_key_pair(locked, passphrase[:6])


def test_no_two_files_are_alike() -> None:
    one, other = (locked_pem(DER, b"secret").splitlines() for _ in range(2))
    assert one[0] == other[0]
    assert set(one[3:-1]).isdisjoint(other[3:-1])


def test_openssl_reads_it_and_names_a_costly_derivation(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(private_pem(key(0), b"secret"))
    read = ["openssl", "pkey", "-in", path, "-passin", "pass:secret", "-outform", "DER", "-traditional"]
    traditional = key(0).private_bytes(Encoding.DER, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    assert subprocess.run(read, check=True, capture_output=True).stdout == traditional
    shown = subprocess.run(["openssl", "asn1parse", "-in", path], check=True, capture_output=True, text=True).stdout
    kinds = [line.split(":")[-1].strip() for line in shown.splitlines() if "OBJECT" in line or "INTEGER" in line]
    assert kinds == ["PBES2", "scrypt", "4000", "08", "05", "aes-256-cbc"]
