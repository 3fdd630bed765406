"""Does the mediator on this machine serve? Exit 0 if its gRPC health service says so; the container asks this way.

The port is P2P_SERVER_PORT, else 54700. The certificate is taken as it comes: this asks about health, not identity.
"""

import os
import ssl
import sys

import grpc
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

HOST = "127.0.0.1"
PATIENCE = 4.0  # s, for each of two steps; the container gives up after 10


def connect(port: int) -> grpc.Channel:
    """A channel to the mediator on `port`, by TLS if it speaks TLS, else in the clear (``--insecure``)."""
    address = f"{HOST}:{port}"
    try:
        pem = ssl.get_server_certificate((HOST, port), timeout=PATIENCE)
    except ssl.SSLError:
        return grpc.insecure_channel(address)
    extensions = x509.load_pem_x509_certificate(pem.encode()).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    name = names.get_values_for_type(x509.DNSName)[0].replace("*", "any")
    credentials = grpc.ssl_channel_credentials(root_certificates=pem.encode())
    return grpc.secure_channel(address, credentials, options=[("grpc.ssl_target_name_override", name)])


def main() -> int:
    """0 if the mediator serves, else 1 and the reason on stderr."""
    try:
        with connect(int(os.environ.get("P2P_SERVER_PORT", "54700"))) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)  # type: ignore[attr-defined]
    except (OSError, grpc.RpcError) as error:
        print(f"The mediator does not answer: {error}", file=sys.stderr)
        return 1
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        print("The mediator is up and not serving.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
