"""The frame of a key proof (channel.md)."""

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.fields import x
from tests.vectors.independent.frames import body_of


@check("frame-key-proof")
def _key_proof(name: str) -> None:
    assert body_of(pages.read(name), 0x01) == x(5, 256)
