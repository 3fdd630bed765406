"""What there is to say of `p2p-peer` beside its flags, for `--help` and the man page. Nothing but data.

A text has paragraphs, and rows of a term and what it means.
"""

from p2p_peer.cli.chat_commands import CHAT_COMMANDS, ESCAPE
from p2p_peer.cli.exit_codes import EXIT_CODES

__all__ = ["COMMANDS", "EVENTS", "HELP", "MAN_PAGE", "PASSPHRASE_VARIABLE", "PHRASE_VARIABLE", "Text"]

PASSPHRASE_VARIABLE = "P2P_PEER_PASSPHRASE"  # noqa: S105 - a variable's name
PHRASE_VARIABLE = "P2P_PEER_PHRASE"

Text = tuple[str | tuple[str, str], ...]

COMMANDS = {
    "token": (
        "p2p-peer token [KEYPAIR [PEERKEY]]",
        "meet another peer without a mediator: each side gives the other its token, by any way there is",
    ),
    "direct": (
        "p2p-peer direct [-t TARGET]",
        "meet another peer without a mediator where one of the two can be dialled",
    ),
    "keygen": ("p2p-peer keygen DIR", "make a key pair: DIR/key.pem (0600) and DIR/public.pem"),
    "fingerprint": ("p2p-peer fingerprint KEY", "print a key's peer id, and words to read to each other"),
    "netcheck": (
        "p2p-peer netcheck [HOST PORT]",
        "tell what this network is like, and which peers it can reach directly",
    ),
    "trust": (
        "p2p-peer trust [DOING WHO]",
        "list, name, verify or remove the peers and mediators that are remembered",
    ),
    "verify": (
        "p2p-peer verify RECEIPT FILE",
        "tell whether a file is what was sent or received, by the receipt that both sides signed",
    ),
}
"""How each command is called, and what it does."""

EVENTS: tuple[tuple[str, str, str], ...] = (
    (
        "mediator_pinned",
        "id",
        "its key is remembered from now on: the first connection to this mediator, "
        "or it has another key that a certificate vouches for",
    ),
    (
        "mediator_lost",
        "code, message",
        "the mediator went away, or wants to be asked later; it is looked for again, and the other peer is waited for "
        "all the same: mediator_back follows, or error",
    ),
    ("mediator_back", "", "the mediator has let us in again"),
    ("waiting", "", "the mediator admits us and knows whom we want"),
    ("matched", "role", "the other peer wants us too"),
    (
        "token",
        "token, expires, public",
        "ours, for the other side; until when it is good, in seconds since 1970 began; and whether it names an address "
        "that may be reached from another network",
    ),
    ("token_read", "", "the other side's token is good: from now on it is tried to reach it"),
    ("listening", "addresses", "where the other peer may dial us"),
    ("not_reached", "target, why", "there is no connection with the peer that was dialled; it is waited for"),
    (
        "turned_away",
        "address, code, message",
        "a peer came, but its key is not believed, say, or nothing was proved; others are waited for",
    ),
    (
        "peer_met",
        "peer, standing, words, own_words",
        "no mediator introduced the peer that has proved its key; standing is expected, remembered, known_elsewhere, "
        "first_use or by_token, and words are for two people to compare",
    ),
    (
        "connected",
        "path, address, why, peer, role, key_exchange, seconds",
        "both keys are proved; why there is no better path, and seconds since both had advertised or, without a "
        "mediator, since there was a path",
    ),
    (
        "path_lost",
        "code, message",
        "the connection is gone; another one is looked for, and nothing is lost meanwhile: "
        "path_changed follows, or after a minute at most error",
    ),
    ("path_changed", "path, address, why", "the session goes on over another path"),
    ("message", "from, text", "the other side wrote"),
    (
        "session_lost",
        "code, message",
        "the session is gone, and with it perhaps the other side; what was under way goes on when it comes back",
    ),
    (
        "transfer_offered",
        "transfer, label, entries, files, size, items",
        "the other side would like to send files; items are the first 100 at the top: name, kind, size",
    ),
    (
        "transfer_progress",
        "transfer, direction, phase, bytes, total, moved, rate",
        "at most ten times a second: how much is there, and how much of it came over the wire; total is null for a "
        "stream, rate while nothing moves",
    ),
    ("transfer_stalled", "transfer, label, seconds", "nothing has moved for so long"),
    (
        "file_failed",
        "transfer, direction, path, code, message",
        "one file of a transfer came to nothing; the others go on, and the exit code will be 8",
    ),
    ("file_grew", "transfer, path, size", "it grew while it was sent: only its first bytes are sent, as offered"),
    (
        "files_kept",
        "transfer, count, examples",
        "they are there already and --overwrite is never: they do not come; paths of the first",
    ),
    (
        "transfer_sent",
        "transfer, label, files, size, moved, seconds, failed, offered, receipt",
        "the other side has verified and stored it; files of those offered that neither are there nor failed it did "
        "not take; receipt is a file that proves it",
    ),
    (
        "transfer_received",
        "transfer, label, paths, files, size, moved, seconds, failed, offered, receipt",
        "verified and stored; paths are those at the top",
    ),
    (
        "transfer_failed",
        "transfer, direction, label, code, message, kept, bytes",
        "a transfer came to nothing; kept is the folder that has what came, so many bytes, for another try, or null",
    ),
    ("closed", "reason", "the session is over"),
    ("error", "code, message, advice", "why the exit code is not 0, and what to do next"),
)
"""The name of each event of `--json`, its fields, and when it comes."""

HELP: dict[str, Text] = {
    "COMMANDS": (*COMMANDS.values(), "Each has its own --help."),
    "CHAT": (
        "At a terminal a typed line is a message. Commands are:",
        *CHAT_COMMANDS,
        f"And {ESCAPE}.",
        "With no terminal, every line of standard input is a message; at its end the peer waits for the\n"
        "acknowledgements and then for the other side to be done as well.",
    ),
    "EXIT STATUS": tuple((str(code), meaning) for code, meaning in EXIT_CODES.items()),
    "ENVIRONMENT": (
        (PASSPHRASE_VARIABLE, "the passphrase of a locked key pair, where no terminal can be asked"),
        (PHRASE_VARIABLE, "the phrase that tokens are locked with, where --phrase does not say one"),
        ("XDG_STATE_HOME", "where the folder punchwire of --state-dir is; ~/.local/state without it"),
        ("XDG_CONFIG_HOME", "where the folder punchwire with config.toml is; ~/.config without it"),
    ),
}
"""What both say."""

MAN_PAGE: dict[str, Text] = {
    "DESCRIPTION": (
        "Whoever is first waits for the other. The mediator introduces the two and then steps aside: messages and\n"
        "files go directly between them, over TCP or QUIC, encrypted with TLS 1.3; both sides prove their keys.",
        "Where no direct connection can exist, they go through the mediator's relay, which cannot read them. A\n"
        "session that begins there moves to a direct path when one comes up, and one that loses its path finds\n"
        "another: nothing is lost or comes twice.",
        "Files are sent as they are on the disk, with their times and permissions; hidden files in folders are left\n"
        "out, and links that lead out of what is sent, or nowhere. Every block is verified before it counts. If a\n"
        "program or a machine dies, the other one waits, and both go on with what is missing. Of what has arrived,\n"
        "both keep a receipt that is signed.",
        "Without a mediator, token and direct make the same session. With token each side shows a token, which is to\n"
        "get to the other one by a way of the users' own, and both punch through their networks; there is no relay,\n"
        "and a path that is lost ends the session. Without --phrase, tokens are locked with a constant, which keeps\n"
        "nothing from anybody; with one, whoever gets hold of a token may try phrases on it. What protects a session\n"
        "is the proof of the keys: that of PEERKEY, or that which the other side's token names.",
        "With direct one of the two can be dialled: at its address and port there is nothing to punch through. The\n"
        "key of a peer that none is given for is remembered at the first connection, as ssh does it.",
        "The first connection to a mediator remembers its key; from then on another key is an error, unless a\n"
        "certificate authority that this computer trusts vouches for it.",
    ),
    "EVENTS": (
        "With --json, standard output has one object a line, and nothing else. Its field event names the event;\n"
        "the other fields are in brackets here. path is tcp, quic or relay, why is a clause for people and empty for\n"
        "tcp, role is initiator or responder, peer and from are peer ids, direction is sent or received, phase is\n"
        "waiting, hashing, moving or verifying, kind is file, folder, link or stream.",
        *((f"{name} ({fields})" if fields else name, when) for name, fields, when in EVENTS),
    ),
    "FILES": (
        ("~/.local/state/punchwire/trust.json", "the peers and mediators that are remembered; trust shows it"),
        (
            "~/.local/state/punchwire/identity",
            "the key pair that is made where none is given, by direct; as in DIR of keygen",
        ),
        ("~/.local/state/punchwire/history.jsonl", "a line for each transfer that is over"),
        ("~/.local/state/punchwire/receipts", "what both sides signed about each, for verify"),
        (
            ".punchwire-*",
            "in a folder that files are received into: what has arrived of a transfer that is to go on. It goes when\n"
            "that is done; remove it if it never will be",
        ),
        (
            "~/.config/punchwire/config.toml",
            'STUN servers to ask as well as the mediator\'s: stun = ["stun.example.org:3478"], each as with --stun;\n'
            'and for token, what is asked where none of them answers: address_service = "https://address.example.org"',
        ),
        ("DIR/key.pem, DIR/public.pem", "what keygen makes: the key pair (0600), and the public key for the others"),
    ),
    "EXAMPLES": (
        ("p2p-peer keygen ~/punchwire", "Make a key pair."),
        ("p2p-peer fingerprint bob.pem", "Print whose key it is, and twelve words to read to each other on the phone."),
        ("p2p-peer mediator.example 54700 ~/punchwire/key.pem bob.pem", "Chat with the owner of bob.pem."),
        (
            "p2p-peer netcheck mediator.example 54700",
            "See what the networks of others need to be for a direct connection.",
        ),
        (
            "p2p-peer mediator.example 54700 ~/punchwire/key.pem bob.pem --send photo.jpg",
            "Send a file, and leave when the other side has verified and stored it.",
        ),
        (
            "p2p-peer mediator.example 54700 ~/punchwire/key.pem bob.pem --send photos film.mkv --exclude '*.tmp'",
            "Send a folder and a file as one transfer, without what has such a name.",
        ),
        (
            "tar c / | p2p-peer mediator.example 54700 ~/punchwire/key.pem bob.pem --send -",
            "Send what comes on standard input; the other side may take it with --receive - and unpack it.",
        ),
        (
            "p2p-peer mediator.example 54700 ~/punchwire/key.pem bob.pem --receive inbox --yes --json",
            "Receive one transfer without asking, and report as JSON.",
        ),
        (
            "p2p-peer token",
            "Chat without a mediator and without keys: give the other side the token that is shown, and paste its own.",
        ),
        (
            "p2p-peer token ~/punchwire/key.pem bob.pem --phrase 'green tea' --send photo.jpg",
            "Send a file to the owner of bob.pem, with tokens that both have agreed on a phrase for.",
        ),
        (
            "p2p-peer direct -m 2 --peer-key alice.pem --receive inbox --yes",
            "Wait at TCP port 8000 for the owner of alice.pem to send files.",
        ),
        ("p2p-peer direct -m 1 -t 192.168.1.20 --send photo.jpg", "Send one to whoever waits there."),
    ),
    "SEE ALSO": ("p2p-server(1)",),
}
"""What the man page says besides."""
