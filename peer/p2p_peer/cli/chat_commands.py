"""The chat's commands, for the chat, `--help` and the man page. Nothing but data."""

__all__ = ["CHAT_COMMANDS", "ESCAPE"]

CHAT_COMMANDS: tuple[tuple[str, str], ...] = (
    ("/send PATH...", "offer files and folders"),
    ("/accept [N]", "take what is offered, or the offer with this number"),
    ("/accept N ITEMS", "take some of it: 1,3-5"),
    ("/reject [N]", "refuse it"),
    ("/cancel [N]", "give up what is under way"),
    ("/status", "how the connection is made, and since when"),
    ("/help", "list these commands"),
    ("/quit", "say goodbye and leave"),
)
"""How each is typed, and what it does."""

ESCAPE = "a line that starts with // is a message that starts with /"
