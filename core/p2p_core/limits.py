"""Limits that are part of the protocols: both sides hold them, and `docs/protocol/` states them.

Limits that one program sets for itself stand with that program.
"""

PROTOCOL_VERSION = 1

# Keys. 2048 bits is the least NIST SP 800-57 still allows; above 8192 a verify costs more than it protects.
MIN_KEY_BITS = 2048
MAX_KEY_BITS = 8192
DEFAULT_KEY_BITS = 3072  # 128-bit strength, NIST SP 800-57 part 1 table 2
PUBLIC_EXPONENT = 65537  # any other is refused before use: a long exponent makes each verify a hundred times dearer
MAX_PUBLIC_KEY_BYTES = 1200  # DER SubjectPublicKeyInfo of 8192 bits is 1062

PEER_ID_BYTES = 32
NONCE_BYTES = 32
SHARE_BYTES = 32
HASH_BYTES = 32
MAX_SIGNATURE_BYTES = MAX_KEY_BITS // 8

# Offers.
MAX_OFFER_BYTES = 16 * 1024  # sealed
MAX_OFFER_LIFE = 600  # s; long enough for a slow match, short enough that a stolen offer is soon worthless
MAX_CLOCK_SKEW = 120  # s between the end of one offer and the issue of the other, by two clocks
MAX_CANDIDATES = 32  # more would make an offer a list of targets
MAX_CHANNELS_AHEAD = 64  # channels of a session that one side may count more than the other; the number has 32 bits
MAX_SIGNAL_BYTES = 16 * 1024
MAX_START_DELAY = 2.0  # s a mediator may make a peer wait before it starts

# The relay.
RELAY_TICKET_BYTES = 32
MAX_RELAY_DATA_BYTES = 256 * 1024  # in one message

# Frames.
MAX_PROOF_FRAME = MAX_SIGNATURE_BYTES  # taken before the proof has passed
MAX_INTRODUCTION = MAX_PUBLIC_KEY_BYTES + 128  # likewise, where there is no mediator: a key and two hashes
MAX_TEXT_BYTES = 64 * 1024
MAX_CONTROL_FRAME = 128 * 1024
MAX_NAME_BYTES = 1024  # on the wire; what is written is shorter, see safe_names
MAX_REASON_BYTES = 1024
MIN_BLOCK_SIZE = 4 * 1024
MAX_BLOCK_SIZE = 1024 * 1024
MAX_FILE_BYTES = 2**63 - 1  # of a whole transfer too
MAX_BATCH_BLOCKS = 256  # blocks in one frame: small files, each of them one

# What a transfer is made of.
MAX_ENTRIES = 1_000_000
MAX_MANIFEST_BYTES = 64 * 1024 * 1024  # of names, in all offers that wait or are under way
MAX_DEPTH = 1000  # folders in folders
MAX_TARGET_BYTES = 4096  # of a link; PATH_MAX of Linux
MAX_BLOCKS = 2**32 - 1
