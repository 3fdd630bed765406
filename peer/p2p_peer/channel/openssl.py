"""The four things Punchwire needs of OpenSSL that pyOpenSSL has no public name for, in one place.

- 0.5-RTT data: the responder's proof rides right behind its Finished (RFC 8446 §2, Figure 1), a round trip saved;
- SSL_read straight into our buffer: `recv_into` copies every byte once more;
- one record a read: with SSL_MODE_AUTO_RETRY a read goes on for as long as records without data come, and whoever sends
  nothing but KeyUpdates keeps the event loop in it (5 MB of them: 1.9 s measured);
- whole writes: without SSL_MODE_ENABLE_PARTIAL_WRITE a write of 1 MiB is one call (771 → 955 MB/s measured).

docs/decisions/openssl-bindings.md has the reasons and what happens should a name go away.
"""

from typing import Any

from OpenSSL import SSL

__all__ = ["accept_until_finished", "one_record_a_read", "read_into", "whole_writes", "write_behind_finished"]

# cffi's objects carry no types.
_lib: Any = SSL._lib  # type: ignore[attr-defined]
_ffi: Any = SSL._ffi  # type: ignore[attr-defined]
_EARLY_DATA_ERROR, _EARLY_DATA_FINISHED = 0, 2  # SSL_read_early_data(3)


def whole_writes(context: SSL.Context) -> None:
    """Make every write either whole or not at all."""
    context.clear_mode(_lib.SSL_MODE_ENABLE_PARTIAL_WRITE)


def one_record_a_read(connection: Any) -> None:
    """Let `read_into` say that nothing is there yet after a record without data; SSL_CTX_set_mode(3)."""
    _lib.SSL_clear_mode(connection._ssl, _lib.SSL_MODE_AUTO_RETRY)


def accept_until_finished(connection: Any) -> bool:
    """Take the TLS server's handshake as far as its own Finished; SSL_read_early_data(3).

    Raises as `do_handshake` does when bytes are missing. Returns False for early data that was taken. None is: there is
    no ticket to base it on, and what a client sends all the same is skipped.
    """
    nothing, count = _ffi.new("char[1]"), _ffi.new("size_t *")
    result = _lib.SSL_read_early_data(connection._ssl, nothing, 1, count)
    if result == _EARLY_DATA_ERROR:
        connection._raise_ssl_error(connection._ssl, result)
    return bool(result == _EARLY_DATA_FINISHED)


def write_behind_finished(connection: Any, data: bytes) -> None:
    """Send `data` before the client's Finished has come; SSL_write_early_data(3)."""
    count = _ffi.new("size_t *")
    result = _lib.SSL_write_early_data(connection._ssl, data, len(data), count)
    if result != 1:
        connection._raise_ssl_error(connection._ssl, result)


def read_into(connection: Any, space: memoryview) -> int:
    """Read at most `len(space)` bytes into `space`; SSL_read(3). Raises as `recv_into` does."""
    result = _lib.SSL_read(connection._ssl, _ffi.from_buffer("char[]", space, require_writable=True), len(space))
    if result <= 0:
        connection._raise_ssl_error(connection._ssl, result)
    return int(result)
