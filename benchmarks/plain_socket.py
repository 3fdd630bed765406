"""A file over a plain TCP connection, with nothing else: what `benchmarks/transfer.py` compares with.

    plain_socket.py receive FILE           prints the port it listens on, then takes one file
    plain_socket.py send FILE PORT         sends FILE, prints the seconds from the connection to the receipt

No encryption and no hash. Buffers are as large as Punchwire's blocks.
"""

import socket
import sys
import time
from pathlib import Path

BUFFER = 1024 * 1024
LOOPBACK = "127.0.0.1"
RECEIPT = b"\x06"


def receive(path: Path) -> None:
    """Take one file."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        connection, _ = listener.accept()
    buffer = memoryview(bytearray(BUFFER))
    with connection:
        with path.open("xb", buffering=0) as file:
            while count := connection.recv_into(buffer):
                rest = buffer[:count]
                while rest:
                    rest = rest[file.write(rest) :]
        connection.sendall(RECEIPT)


def send(path: Path, port: int) -> None:
    """Send one file."""
    buffer = memoryview(bytearray(BUFFER))
    with socket.create_connection((LOOPBACK, port)) as connection, path.open("rb", buffering=0) as file:
        began = time.monotonic()
        while count := file.readinto(buffer):
            connection.sendall(buffer[:count])
        connection.shutdown(socket.SHUT_WR)
        if connection.recv(1) != RECEIPT:
            sys.exit("the receiver ended early")
        print(time.monotonic() - began)


if __name__ == "__main__":
    if sys.argv[1] == "receive":
        receive(Path(sys.argv[2]))
    else:
        send(Path(sys.argv[2]), int(sys.argv[3]))
