"""Has the gateway map a UDP and a TCP port, tells what leads to them in one line of JSON, and answers there.

python port_holder.py ADDRESS PROTOCOLS LIFETIME      (as in "10.1.0.10 PCP,UPnP 7200")

It answers what it is sent, in capitals, until its standard input ends; then it gives the ports back. What it then
prints is how long that took, in seconds.
"""

import asyncio
import json
import socket
import sys
from ipaddress import IPv4Address
from typing import Any

from p2p_peer.gather.port_mapping import mapper, mapping


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data.upper(), addr)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.read(100)).upper())
    writer.close()


async def main(address: str, protocols: str, lifetime: str) -> None:
    mapper.LIFETIME = int(lifetime)
    mapping.FINDERS = {protocol: mapping.FINDERS[protocol] for protocol in protocols.split(",")}
    loop = asyncio.get_running_loop()
    udp, _ = await loop.create_datagram_endpoint(Echo, local_addr=(address, 0), family=socket.AF_INET)
    tcp = await asyncio.start_server(echo, address, 0)
    ports = udp.get_extra_info("sockname")[1], tcp.sockets[0].getsockname()[1]
    local = [IPv4Address(address)]
    port_mapping = mapping.PortMapping()
    began = loop.time()
    mapped = port_mapping.start(*ports, local)
    await asyncio.gather(*mapped.tasks)
    found = {
        "seconds": loop.time() - began,
        "ports": ports,
        "mapped": {one.transport.value: [one.address.host, one.address.port] for one in mapped.candidates()},
        "protocols": [
            [one.protocol, str(one.gateway), one.external and str(one.external)]
            for one in await mapping.find_protocols(local)
        ],
    }
    print(json.dumps(found), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    began = loop.time()
    await port_mapping.close()
    print(loop.time() - began)
    tcp.close()
    udp.close()


asyncio.run(main(*sys.argv[1:]))
