"""The chat's commands, for the chat, `--help` and the man page. Nothing but data."""

__all__ = ["CHAT_COMMANDS", "ESCAPE"]

CHAT_COMMANDS: tuple[tuple[str, str], ...] = (
    ("/send PATH", "offer a file"),
    ("/accept [N]", "take the file that is offered, or the one with this number"),
    ("/reject [N]", "refuse it"),
    ("/status", "how the connection is made, and since when"),
    ("/help", "list these commands"),
    ("/quit", "say goodbye and leave"),
)
"""How each is typed, and what it does."""

ESCAPE = "a line that starts with // is a message that starts with /"
