"""A web server that tells its clients where it sees them: python address_server.py ADDRESS PORT; says "ready"."""

import sys
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer


class Teller(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = f"{self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_: object) -> None:
        pass


with TCPServer((sys.argv[1], int(sys.argv[2])), Teller) as server:
    print("ready", flush=True)
    server.serve_forever()
