"""A connection to a server, with TLS or without, and in plain words why there is none."""

import ssl
from http.client import HTTPConnection, HTTPSConnection


def connected(host: str, port: int, seconds: float, context: ssl.SSLContext | None) -> HTTPConnection:
    """Over TLS where there is a `context`. Raises OSError, HTTPException."""
    if context is not None:
        connection: HTTPConnection = HTTPSConnection(host, port, timeout=seconds, context=context)
    else:
        connection = HTTPConnection(host, port, timeout=seconds)
    try:
        connection.connect()
    except BaseException:
        connection.close()
        raise
    return connection


def why(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message.rstrip('.')}"
    return str(error) or type(error).__name__
