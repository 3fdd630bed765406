"""What answers there, if not a mediator as it was called for? Looked into only when something has failed already."""

import asyncio
import ssl

__all__ = ["speaks_http2", "speaks_http2_over_tls"]

LOOK_TIME = 2.0  # s; a mediator that just answered something is not slow to answer again
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # RFC 9113 §3.4: empty SETTINGS
_FRAME_HEADER_BYTES = 9
_SETTINGS = 4


async def speaks_http2(host: str, port: int) -> bool:
    """Whether HTTP/2 without TLS is spoken there: a mediator that needs --insecure does."""
    try:
        async with asyncio.timeout(LOOK_TIME):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(_PREFACE)
                header = await reader.readexactly(_FRAME_HEADER_BYTES)
            finally:
                writer.transport.abort()
    except (OSError, ValueError, EOFError):
        return False
    return header[3] == _SETTINGS and header[5:] == bytes(4)  # the server's first frame, on stream 0


async def speaks_http2_over_tls(host: str, port: int) -> bool:
    """Whether TLS is spoken there and HTTP/2 inside it: a mediator that --insecure is wrong for does."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    try:
        async with asyncio.timeout(LOOK_TIME):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, ValueError):
        return False
    agreed = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.transport.abort()
    return bool(agreed == "h2")
