"""The punch keys that several pages use."""

from p2p_core.proof import Role
from p2p_core.punching import PunchPurpose, PunchSecret

from tests.vectors.made.inputs import SESSION, SHARES


def punch_key(role: Role, use: PunchPurpose) -> bytes:
    return PunchSecret(b"".join(SHARES), SESSION).key(role, use)
