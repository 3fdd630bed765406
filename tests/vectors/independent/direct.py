"""The frame that chooses a connection (direct.md)."""

from tests.vectors import pages
from tests.vectors.independent.checks import check
from tests.vectors.independent.frames import body_of


@check("frame-chosen")
def _chosen(name: str) -> None:
    assert body_of(pages.read(name), 0x14) == b""
