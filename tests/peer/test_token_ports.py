"""The ports of a token, taken again after a path came to nothing."""

import socket
from contextlib import closing
from ipaddress import ip_address

from p2p_peer.events import CandidatesFound, ConnectEvent
from p2p_peer.gather.udp_socket import UdpSocket
from p2p_peer.options import ConnectOptions
from p2p_peer.serverless.token_ports import Ports

HERE = ConnectOptions(bind=ip_address("127.0.0.1"), port_mapping=False)


async def test_a_port_that_is_lost_is_not_missed() -> None:
    told: list[ConnectEvent] = []
    async with Ports() as ports:
        gathered = await ports.open(HERE, told.append)
        assert told == [CandidatesFound(gathered.candidates())]
        [udp] = gathered.udp_sockets
        udp.close()
        with closing(UdpSocket.open(socket.AF_INET, udp.number, "127.0.0.1")):
            ports.reopen()
        ports.reopen()
        assert udp.socket.getsockname() == ("127.0.0.1", udp.number)
    assert udp.socket.fileno() == -1
