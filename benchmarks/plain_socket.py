"""Files over a plain TCP connection, with nothing else: what `benchmarks/transfer.py` compares with.

    plain_socket.py receive FILE           prints the port it listens on, then takes one file
    plain_socket.py send FILE PORT         sends FILE, prints the seconds from the connection to the receipt
    plain_socket.py receive-tree FOLDER    the same of what one `tar` packs
    plain_socket.py send-tree PATH PORT    and the other one unpacks

No encryption and no hash. Buffers are as large as Punchwire's blocks; a file that is there is overwritten. `tar` writes
into the socket itself, and reads from it.
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

BUFFER = 1024 * 1024
LOOPBACK = "127.0.0.1"
RECEIPT = b"\x06"


def receive(path: Path, connection: socket.socket) -> None:
    """Take one file."""
    buffer = memoryview(bytearray(BUFFER))
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb", buffering=0) as file:
        while count := connection.recv_into(buffer):
            rest = buffer[:count]
            while rest:
                rest = rest[file.write(rest) :]
        file.truncate()


def send(path: Path, connection: socket.socket) -> None:
    """Send one file."""
    buffer = memoryview(bytearray(BUFFER))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            connection.sendall(buffer[:count])


def receive_tree(folder: Path, connection: socket.socket) -> None:
    """Take whatever `tar` sends."""
    subprocess.run(["tar", "-xpf", "-", "-C", folder], stdin=connection.fileno(), check=True)


def send_tree(path: Path, connection: socket.socket) -> None:
    """Send a folder with all that is in it."""
    subprocess.run(["tar", "-cf", "-", "-C", path.parent, path.name], stdout=connection.fileno(), check=True)


def main(what: str, path: Path, *port: str) -> None:
    """Be one of both ends."""
    if what in ("receive", "receive-tree"):
        with socket.create_server((LOOPBACK, 0)) as listener:
            print(listener.getsockname()[1], flush=True)
            connection, _ = listener.accept()
        with connection:
            (receive if what == "receive" else receive_tree)(path, connection)
            connection.sendall(RECEIPT)
        return
    with socket.create_connection((LOOPBACK, int(*port))) as connection:
        began = time.monotonic()
        (send if what == "send" else send_tree)(path, connection)
        connection.shutdown(socket.SHUT_WR)
        if connection.recv(1) != RECEIPT:
            sys.exit("the receiver ended early")
        print(time.monotonic() - began)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
