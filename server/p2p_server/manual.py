"""What there is to say of `p2p-server` beside its flags, for `--help` and the man page. Nothing but data.

A text has paragraphs, and rows of a term and what it means.
"""

__all__ = ["ENVIRONMENT", "MAN_PAGE"]

ENVIRONMENT = "Each flag can also be given as the environment variable that is named behind it; the flag wins."

MAN_PAGE: dict[str, tuple[str | tuple[str, str], ...]] = {
    "DESCRIPTION": (
        "It checks the key of each peer, and gives two peers that ask for each other what each needs to reach the\n"
        "other directly. Where there is no direct way it passes on what they say to each other, encrypted: it sees\n"
        "who meets whom, and never what they say.",
    ),
    "OUTPUT": (
        "The first line on standard output says where it listens, and the mediator's id, which is for the peers.\n"
        "With --log-format json it is one object: event (listening), host, port, stun_port (null with --no-stun),\n"
        "mediator_id (null with --insecure), metrics (HOST:PORT, or null).\n"
        "The log goes to standard error.",
    ),
    "EXIT STATUS": (
        ("0", "stopped by SIGTERM or SIGINT"),
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
