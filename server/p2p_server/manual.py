"""What there is to say of `p2p-server` beside its flags, for `--help` and the man page. Nothing but data.

A text has paragraphs, and rows of a term and what it means.
"""

__all__ = ["BYTES", "ENVIRONMENT", "MAN_PAGE"]

ENVIRONMENT = (
    "Each flag can also be given as the environment variable that is named behind it; the flag wins. The variable of a "
    "flag that takes no value says yes or no."
)
BYTES = "BYTES is a whole number, with K, M or G behind it for powers of 1024: 64K, 4M, 2G."

MAN_PAGE: dict[str, tuple[str | tuple[str, str], ...]] = {
    "DESCRIPTION": (
        "It checks the key of each peer, and gives two peers that ask for each other what each needs to reach the\n"
        "other directly. Where there is no direct way it passes on what they say to each other, encrypted: it sees\n"
        "who meets whom, and never what they say.",
    ),
    "SIZES": (BYTES,),
    "OUTPUT": (
        "The first line on standard output says where it listens, and the mediator's id, which is for the peers.\n"
        "With --log-format json it is one object: time (ISO 8601, UTC), level (info), event (listening), host,\n"
        "port, stun_port (null with --no-stun), mediator_id (null with --insecure), store, behind_proxy (true or\n"
        "false), metrics (HOST:PORT, or null).\n"
        "The log goes to standard error.",
    ),
    "SIGNALS": (
        (
            "SIGTERM, SIGINT",
            "take no more peers, send away those that wait, let those go on that are just meeting, for\n"
            "--drain-seconds at most, and end. A second one ends at once.",
        ),
        ("SIGHUP", "look at the certificate and at every authorized key now; once a second it is done anyway."),
    ),
    "EXIT STATUS": (
        ("0", "stopped by SIGTERM or SIGINT"),
        ("1", "a fault of the mediator: please report it, with what is on standard error"),
        ("2", "what was asked for cannot be done; one sentence on standard error says why"),
    ),
    "ENVIRONMENT": (ENVIRONMENT,),
    "FILES": (
        (
            "~/.local/state/punchwire-mediator/key.pem, certificate.pem",
            "the TLS key, made at the first start, and its certificate. Peers remember the key: it is the mediator's\n"
            "identity.",
        ),
        ("~/.local/state/punchwire-mediator/authorized/", "the keys that are admitted, one PEM each, by peer id"),
    ),
    "EXAMPLES": (
        ("p2p-server authorize --authorized keys/ alice.pem bob.pem", "Admit two peers."),
        ("p2p-server --authorized keys/", "Introduce them to each other when they come."),
        (
            "p2p-server --insecure --no-stun --stun-server stun.example.net:3478",
            "Behind a tunnel that ends TLS and carries one TCP port.",
        ),
        ("p2p-server --relay-rate 1M --relay-total-rate 4M --relay-total-bytes 50G", "Relay on a small line."),
        (
            "P2P_SERVER_STORE=redis://:PASSWORD@redis.example/0 p2p-server --behind-proxy --advertise a.example:54700",
            "One of several instances behind a balancer, with its own name for the relays.",
        ),
    ),
    "SEE ALSO": ("p2p-peer(1)",),
}
"""What the man page says besides."""
