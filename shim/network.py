"""What all peers of a thread share: its sockets and timers, the names of hosts, and what this node shows."""

import socket
from collections.abc import Callable
from threading import Thread
from typing import TYPE_CHECKING

from shim.clock import Clock
from shim.logbook import Logbook
from shim.loop import Loop
from shim.scheduler import Scheduler

if TYPE_CHECKING:
    from shim.tls import Credentials

Addresses = list[tuple[int, tuple[object, ...]]]


class Network:
    """What all peers of a thread share."""

    def __init__(self, loop: Loop, scheduler: Scheduler, clock: Clock, logbook: Logbook, limit: int) -> None:
        """`limit`: bytes that a message may have."""
        self.loop = loop
        self.scheduler = scheduler
        self.clock = clock
        self.logbook = logbook
        self.limit = limit
        self.credentials: Credentials | None = None
        """What this node shows to those whose URL begins with https."""

    def resolve(self, host: str, port: int, done: Callable[[Addresses, str], None]) -> None:
        """`done` gets the addresses, or none and why, on the loop's thread."""

        def look() -> None:
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
                addresses: Addresses = sorted((entry[0], entry[4]) for entry in found)  # IPv4 first
                why = ""
            except OSError as error:
                addresses, why = [], f"{host}: {error.strerror or error}"
            self.loop.post(lambda: done(addresses, why))

        try:  # a daemon: nobody waits for the name of a peer that he no longer wants
            Thread(target=look, name="resolver", daemon=True).start()
        except RuntimeError as error:  # there may be no more threads: it is asked for again with the next try
            why = f"{host}: {error}"
            self.loop.post(lambda: done([], why))
