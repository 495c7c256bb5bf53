"""Knock at ports without a secret: `python doors.py HOST:PORT …` prints what each one said.

Nothing but the standard library, so that anybody on a node can run it.
"""

import http.client
import socket
import ssl
import sys
from contextlib import closing

ORDER = "/get_or_create_runtime_env"
"""A path at which one of Ray's servers takes orders; each answers with its own status."""


def without_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    return context


def greeting(address: str, context: ssl.SSLContext) -> bytes:
    """The first bytes that a server of gRPC says to who is let in; none for others."""
    host, _, port = address.rpartition(":")
    begin = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    try:
        with (
            socket.create_connection((host, int(port)), timeout=5) as plain,
            context.wrap_socket(plain) as encrypted,
        ):
            encrypted.sendall(begin)
            return encrypted.recv(9)
    except (ssl.SSLError, ConnectionError):
        return b""


def knock(address: str) -> str:
    """'refused' by TLS, the HTTP status of an order without a token, 'let in', or 'silent'."""
    try:
        if greeting(address, without_certificate()):
            return "let in"
        with closing(http.client.HTTPConnection(address, timeout=5)) as connection:
            connection.request("POST", ORDER, body=b"{}")
            return str(connection.getresponse().status)
    except (http.client.HTTPException, ConnectionError):
        return "refused"
    except TimeoutError:
        return "silent"


if __name__ == "__main__":
    for each in sys.argv[1:]:
        print(each, knock(each))
