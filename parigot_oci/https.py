"""
Requests that nobody on the way can read: by TLS, or within this machine. An answer has a limit, in bytes and in time.

The home of the library for it. What goes wrong is a RegistryError.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from urllib3.exceptions import ProtocolError

from parigot_oci.errors import Problem, RegistryError

WAIT = (10.0, 60.0)
"""Seconds until a server takes a connection, and that it may stay silent."""
LONGEST = 120.0
"""Seconds that an answer may take, however little comes at a time."""
MOST = 16 << 20
"""Bytes of an answer that are read."""

_LOCAL = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1])(:\d+)?\Z")
_TRY = "is the name right, and the registry running?"


def is_local(host: str) -> bool:
    """Whether a host, perhaps with a port, is this machine."""
    return _LOCAL.match(host) is not None


class BrokenError(RegistryError):
    """The connection has ended in the middle: by the next one it may go well."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`headers` can be asked for in any case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Client:
    """
    Of one server, `host`, perhaps with a port: `url` is where it is, http for one of this machine alone that has no TLS.
    `authority`: a file that it is trusted by; "" for those that the system, or REQUESTS_CA_BUNDLE, has.
    """

    def __init__(self, host: str, url: str, *, authority: str = "", proxies: bool = True) -> None:
        self.host = host
        self.url = url
        self._verify = {"verify": authority} if authority else {}
        self._session = _Session(self)
        self._session.trust_env = proxies

    def ask(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        data: Path | Mapping[str, str] | bytes | None = None,
        query: Sequence[tuple[str, str]] = (),
        basic: tuple[str, str] | None = None,
        follow: bool = True,
    ) -> Answer:
        """`data`: the body, a file's or a form's. `follow`: it may be answered elsewhere. RegistryError, BrokenError."""
        how: dict[str, Any] = {"headers": dict(headers or {}), "params": list(query), "auth": basic}
        how |= {"timeout": WAIT, "stream": True, "allow_redirects": follow, **self._verify}
        with self._reached():
            if isinstance(data, Path):
                with data.open("rb") as file:
                    return _read(self._session.request(method, url, data=file, **how))
            return _read(self._session.request(method, url, data=data, **how))

    def is_private(self, url: str) -> bool:
        """Whether nobody on the way can read what is sent there."""
        found = urlsplit(url)
        local = self.url.startswith("http://") and is_local(found.netloc.rpartition("@")[2])
        return found.scheme == "https" or (found.scheme == "http" and local)

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Turns what the library raises into a RegistryError."""
        try:
            yield
        except requests.exceptions.SSLError as error:
            what = f"{self.host} cannot be trusted: {_innermost(error)}"
            place = f"/etc/docker/certs.d/{self.host}/ca.crt"
            hint = f"put its certificate authority into {place}, or name it by REQUESTS_CA_BUNDLE"
            raise NotTrustedError(Problem(what=what, hint=hint)) from error
        except requests.exceptions.Timeout as error:
            what = f"{self.host} has not answered within {WAIT[1]:g} s"
            hint = "try again: what was uploaded is not uploaded again"
            raise RegistryError(Problem(what=what, hint=hint)) from error
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            broke = bool(error.args) and isinstance(error.args[0], ProtocolError)
            what = f"{self.host} {'ended the connection' if broke else 'cannot be reached'}: {_innermost(error)}"
            raise (BrokenError if broke else RegistryError)(Problem(what=what, hint=_TRY)) from error
        except (requests.RequestException, OSError) as error:
            what = f"{self.host} cannot be reached: {_innermost(error)}"
            raise RegistryError(Problem(what=what, hint=_TRY)) from error


class NotTrustedError(RegistryError):
    """The other side speaks TLS, and has not shown who it is."""


class _Session(requests.Session):
    """Who we are is said to whom it was meant for: never what ~/.netrc says, and to nobody whom a server leads us to."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.auth = _nobody
        self._client = client

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """Before a redirect is followed."""
        before, to = str(response.request.url), str(prepared_request.url)
        if not self._client.is_private(to):
            raise requests.RequestException(f"it leads to {urlsplit(to).hostname}, in plain text")
        if urlsplit(before)[:2] != urlsplit(to)[:2]:
            prepared_request.headers.pop("Authorization", None)


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _read(response: requests.Response) -> Answer:
    end = time.monotonic() + LONGEST
    with response:
        content = bytearray()
        for piece in response.iter_content(1 << 16):
            content += piece
            if time.monotonic() > end:
                raise requests.RequestException(f"its answer takes longer than {LONGEST:g} s")
            if len(content) > MOST:
                raise requests.RequestException(f"it answers with more than {MOST >> 20} MiB")
        return Answer(status=response.status_code, headers=response.headers, content=bytes(content))


def _innermost(error: BaseException) -> str:
    while (inner := getattr(error, "reason", None) or (error.args[0] if error.args else None)) and isinstance(
        inner, BaseException
    ):
        error = inner
    return str(error).rpartition(": ")[2] if "object at 0x" in str(error) else str(error)
