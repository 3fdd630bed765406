"""A second reading of the pages: decodes and verifies every golden block without a line of Punchwire's own code.

Written from docs/protocol/ with the standard library, `cryptography` and `blake3` alone, as a second
implementation would be: one module for each page. `CHECKS` has one check for each block; a check fails by an
exception.
"""

from tests.vectors.independent import (
    channel,
    direct,
    fields,
    identity,
    introduction,
    key_proof,
    mediator,
    offer,
    punching,
    relay,
    session,
    token,
    transfer,
    transfer_talk,
    versions,
)
from tests.vectors.independent.checks import CHECKS

__all__ = ["CHECKS", "MODULES"]

MODULES = (
    fields,
    identity,
    key_proof,
    mediator,
    relay,
    offer,
    token,
    punching,
    channel,
    session,
    transfer,
    transfer_talk,
    introduction,
    direct,
    versions,
)
