"""`python -m p2p_server` is `p2p-server`."""

from p2p_server.cli import run_program

run_program()
