import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from p2p_core.file_root import FileRoot, block_count, block_digest, block_length

SIZES = st.integers(0, 2**63 - 1)
BLOCK_SIZES = st.integers(1, 2**20)


def root(blocks: list[bytes], size: int | None = None, block_size: int = 4) -> bytes:
    found = FileRoot(sum(map(len, blocks)) if size is None else size, block_size)
    for block in blocks:
        found.add(block_digest(block))
    return found.digest()


@pytest.mark.parametrize(
    ("size", "block_size", "lengths"),
    [(0, 4, []), (1, 4, [1]), (4, 4, [4]), (5, 4, [4, 1]), (8, 4, [4, 4])],
)
def test_how_a_file_is_cut(size: int, block_size: int, lengths: list[int]) -> None:
    assert block_count(size, block_size) == len(lengths)
    assert [block_length(size, block_size, index) for index in range(len(lengths))] == lengths


@given(SIZES, BLOCK_SIZES)
def test_the_last_block_is_what_remains(size: int, block_size: int) -> None:
    count = block_count(size, block_size)
    assert (count - 1) * block_size < size <= count * block_size
    if count:
        last = block_length(size, block_size, count - 1)
        assert (count - 1) * block_size + last == size
        assert 0 < last <= block_size
    if count > 1:
        assert block_length(size, block_size, 0) == block_size


def test_a_block_is_hashed_wherever_it_lies() -> None:
    assert block_digest(b"data") == block_digest(memoryview(bytearray(b"data"))) == blake3(b"data").digest()


def test_everything_about_a_file_counts() -> None:
    roots = {
        root([b"aaaa", b"bbbb", b"c"]),
        root([b"bbbb", b"aaaa", b"c"]),
        root([b"aaaa", b"bbbb", b"d"]),
        root([b"aaaa", b"bbbb"]),
        root([b"aaaa", b"bbbb", b"c"], size=10),
        root([b"aaaa", b"bbbb", b"c"], block_size=5),
        root([]),
        blake3(b"aaaabbbbc").digest(),
    }
    assert len(roots) == 8


def test_asking_changes_nothing() -> None:
    found = FileRoot(8, 4)
    found.add(block_digest(b"aaaa"))
    assert found.digest() == found.digest()
    found.add(block_digest(b"bbbb"))
    assert found.digest() == root([b"aaaa", b"bbbb"])
