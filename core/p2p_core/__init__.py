"""What both programs share: keys, the key proof, wire formats and state machines.

Nothing here does I/O, reads a clock or writes a log: bytes, addresses and `now` come in; bytes, deadlines and
events go out. The import rules in `pyproject.toml` hold this.
"""

__version__ = "0.1.0"
