"""
How an app that was started for a program ends: the goodbye passes down the graph.

The program's node says it first, to all that it requires; a node that has heard it from all that require it stops its guests,
says it to those it requires, and ends. A program's node that is out of reach for the startup timeout counts as ended.
"""

from collections.abc import Callable, Mapping

from shim.clock import MS
from shim.config import Goodbye
from shim.kernel import Kernel
from shim.peer import Network, Peer
from shim.transports.remote import ask, check

SERVICE, METHOD = "parigot.v1.Node", "Goodbye"
LOOK = 1_000 * MS
"""Between two looks at the program's node."""


class Ending:
    def __init__(self, kernel: Kernel, network: Network, goodbye: Goodbye) -> None:
        self._kernel = kernel
        self._network = network
        self._goodbye = goodbye
        self._heard: set[str] = set()
        self.lost = False
        """The program's node went away without a goodbye."""
        self._program = Peer(network, goodbye.program) if goodbye.program else None
        self._patience = goodbye.patience
        self._missed: int | None = kernel.clock.peek()
        """Since when the program's node is out of reach, as far as it was looked for."""
        if self._program is not None:
            self._look()

    @property
    def over(self) -> bool:
        return self.lost or (bool(self._goodbye.senders) and self._heard >= self._goodbye.senders)

    def heard(self, sender: str, lost: bool) -> None:
        """A node has said goodbye. Strangers are not listened to."""
        if sender in self._goodbye.senders:
            self._heard.add(sender)
            self.lost = self.lost or lost

    def _look(self) -> None:
        assert self._program is not None, "watched where there is one"
        check(self._program, "", self._seen)

    def _seen(self, why: str) -> None:
        now = self._kernel.clock.peek()
        # A node that answers at all is in reach, ready or not.
        if why in ("", "not ready yet"):
            self._missed, self._patience = None, self._kernel.node.startup
        elif self._missed is None:  # not lost by one look: a guest may have kept this node from hearing the answer
            self._missed = now
        elif now - self._missed >= self._patience:
            self.lost = True
            self._kernel.logbook.record(
                self._kernel.node.name,
                "the program's node is out of reach: the app is over",
                level="error",
                fields={"error": why},
            )
            return
        self._kernel.scheduler.at(now + LOOK, self._look)

    def tell(self, drive: Callable[[Callable[[], bool]], None]) -> None:
        """Says goodbye to all that are to hear it; one that does not answer is asked again, for the call timeout."""
        peers: Mapping[str, Peer] = {node: Peer(self._network, url) for node, url in self._goodbye.receivers.items()}
        told: set[str] = set()
        end = self._kernel.clock.peek() + self._kernel.node.call

        def say(node: str) -> None:
            call = ask(peers[node], SERVICE, METHOD, caller=self._kernel.node.name, lost=self.lost)
            call.then(lambda call: told.add(node) if call.status == 0 else again(node, call.reply))

        def again(node: str, why: bytes) -> None:
            if self._kernel.clock.peek() >= end:
                told.add(node)
                fields = {"node": node, "error": why.decode("utf-8", "replace")}
                self._kernel.logbook.record(self._kernel.node.name, "goodbye not heard", level="warn", fields=fields)
            else:
                self._kernel.scheduler.at(self._kernel.clock.peek() + 100 * MS, lambda: say(node))

        for node in sorted(peers):
            say(node)
        drive(lambda: len(told) == len(peers))
