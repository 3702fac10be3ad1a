"""The externals of a node: servers that are called by their own protocol, each with its certificates and headers."""

import os
import ssl
from collections.abc import Collection
from urllib.parse import urlsplit

from shim import config, secrets
from shim.calls import Metadata
from shim.cell import Cell
from shim.clock import MS
from shim.external.target import Client, External, ExternalTarget
from shim.kernel import Target
from shim.launching import Launching
from shim.messages import Failure, NodeError

BUNDLES = "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"
"""Where systems keep the certificates that they trust, beside the place that their OpenSSL says."""


class Externals:
    def __init__(self, node: config.Node) -> None:
        """Raises NodeError: a secret, or certificates, cannot be had; or there is a seed. Nothing is asked yet."""
        self._node = node
        self._urls = {spec.name: spec.url for spec in node.externals}
        if node.seed is not None:
            text = f"what runs elsewhere ({', '.join(self._urls)}) is not the same each time: run it without --seed"
            raise NodeError(text)
        self._all = {spec.name: _made(spec, node.message) for spec in node.externals}

    @property
    def names(self) -> Collection[str]:
        return self._all.keys()

    def targets(self, here: Cell) -> dict[str, Target]:
        """Where calls to their services go, from a cell."""
        return {
            service: ExternalTarget(
                external,
                service,
                loop=here.loop,
                scheduler=here.scheduler,
                clock=here.kernel.clock,
                logbook=here.logbook,
                limit=self._node.message,
            )
            for external in self._all.values()
            for service in external.exports
        }

    def reach(self, name: str, main: Cell) -> None:
        """Waits in the main cell until all its services are ready. Raises NodeError: not within timeouts.startup."""
        external, url = self._all[name], self._urls[name]
        main.logbook.record(name, "started", fields={"url": url})
        end = main.kernel.clock.peek() + self._node.startup
        for service in sorted(external.exports):
            if why := Launching(main.kernel).until_ready(service, end=end):
                waited = f"within {self._node.startup // MS} ms (timeouts.startup)"
                text = f"{service} at {url} was not ready {waited}: {why}: does it run there, and is it in reach from here?"
                raise NodeError(text, about=name)
        external.ready = True
        main.logbook.record(name, "ready")

    # --- health (asked by another thread) ----------------------------------------------------------------------------

    def why_unhealthy(self) -> str:
        """ "" once all have been found ready: what becomes of them later is their callers' to see."""
        coming = [external.name for external in self._all.values() if not external.ready]
        return f"{coming[0]} has not been found ready yet" if coming else ""

    def serves(self, service: str) -> bool | None:
        """Whether it is ready; None when none of them has it."""
        return next((each.ready for each in self._all.values() if service in each.exports), None)


def _made(spec: config.External, limit: int) -> External:
    try:
        return External(spec.name, spec.exports, _client(spec, limit), _headers(spec))
    except NodeError as error:
        error.about = spec.name
        raise


def _client(spec: config.External, limit: int) -> Client:
    scheme = urlsplit(spec.url).scheme
    roots = _roots(spec) if scheme in ("https", "grpcs") else None
    try:
        if scheme in ("grpc", "grpcs"):
            from shim.external.by_grpc import GrpcClient  # noqa: PLC0415 - it costs a start 100 ms

            return GrpcClient(spec.url, limit, roots=roots)
        from shim.external.by_connect import ConnectClient  # noqa: PLC0415 - for these nodes alone

        return ConnectClient(spec.url, limit, roots=roots, health=spec.health)
    except OSError as error:
        why = error.strerror or str(error)
        raise NodeError(
            f"{roots}: no certificates in PEM to trust {spec.url} by: {why}: see `ca` of the external"
        ) from error
    except ModuleNotFoundError as error:
        raise NodeError(f"{spec.url} needs grpcio, which is not here: build again") from error


def _roots(spec: config.External) -> str:
    if spec.ca is not None:
        return spec.ca
    for path in (ssl.get_default_verify_paths().cafile, *BUNDLES):
        if path and os.path.isfile(path):
            return path
    try:
        import certifi  # noqa: PLC0415 - brought by images of such nodes

        return certifi.where()
    except ModuleNotFoundError as error:
        text = f"no certificates to trust {spec.url} by: name a file of them, `ca`, or build again"
        raise NodeError(text) from error


def _headers(spec: config.External) -> list[tuple[str, str]]:
    """A value that cannot be a header's is not told: it may be a secret."""
    found = Metadata()
    given = {**spec.headers, **{name: secrets.read(path) for name, path in spec.secret_headers.items()}}
    for name, value in sorted(given.items()):
        try:
            found.add(name, value)
        except Failure as failure:
            raise NodeError(
                f"header {name}: it may not be set, its value is no printable ASCII, or all are over 16 KiB: {failure.code.name}"
            ) from None
    return list(found.items)
