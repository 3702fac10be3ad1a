"""
How an app that was started for a program ends: word of it passes along the edges of the graph, and only callers connect.

Whoever requires others holds a question open at each of them, `Attend`. By that these see that he is there, and they answer it
once they know that the program has ended. A node that nobody calls (the ingress) ends by that answer. Any other one ends when all
that require it have said `Goodbye`, or have been away for too long: then it stops its guests, says goodbye to those that it
requires, and ends. The program's node says it first, and only its end, or its absence, tells that the program has ended.
"""

from collections.abc import Callable

from shim.calls import Call
from shim.clock import MS
from shim.config import Goodbye
from shim.kernel import Kernel
from shim.member import Member
from shim.messages import Code
from shim.network import Network
from shim.peer import Peer
from shim.transports.remote import ask

SERVICE, GOODBYE, ATTEND = "parigot.v1.Node", "Goodbye", "Attend"
LOOK = 1_000 * MS
"""Before a node that does not answer is asked again."""
OPEN = 86_400_000 * MS
"""How long a question stays open, before it is asked anew."""
RETURNS = 10
"""So many times the startup timeout may a caller be away that is not the program: it may be restarted, by hand too."""
LOST = b"\x08\x01"
"""The answer where the program's node went away without a goodbye; else it is empty."""


class Ending:
    """What this node knows of the end, and a target of calls: for the questions of those that require it."""

    methods = (ATTEND,)
    peer, host = 0, ""

    def __init__(self, kernel: Kernel, network: Network, goodbye: Goodbye) -> None:
        self.guest: Member | None = None
        self._kernel = kernel
        self._goodbye = goodbye
        self._peers = {node: Peer(network, url, node) for node, url in goodbye.receivers.items()}
        self._heard: set[str] = set()
        self._gone: set[str] = set()
        self._asked: dict[Call, None] = {}
        """Questions that are open here."""
        self._known = False
        """The program has ended."""
        self._leaves = False
        self._why = "caller"
        """Why this node is at its end, in a goodbye's words: "" where the program has come to its own."""
        self._away = dict.fromkeys(goodbye.senders, kernel.clock.peek())
        """Since when they do not ask."""
        self._patience = dict.fromkeys(goodbye.senders, goodbye.patience)
        """How long the program's node may be away; until it is there for the first time, all that it needs has to start."""
        self._asking = {node: self._attend(node) for node in sorted(self._peers)}
        for sender in goodbye.senders:
            self._look(sender)

    @property
    def over(self) -> bool:
        """This node is to end."""
        senders = self._goodbye.senders
        return self._heard | self._gone >= senders if senders else self._known

    @property
    def lost(self) -> bool:
        """It ends for want of others, and not because the program did."""
        return bool(self._why)

    # --- those that require this node --------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """A question: open until the program has ended, or whoever asks is gone."""
        self._asked[call] = None
        if call.caller in self._goodbye.senders:
            self._away.pop(call.caller, None)
            self._gone.discard(call.caller)
            self._patience[call.caller] = self._kernel.node.startup
        call.then(self._no_longer_asked)
        if self._known:
            self._answer(call)
        elif self._leaves:
            self._turn_away(call)

    def check(self, done: Callable[[str], None]) -> None:
        done("")

    def _no_longer_asked(self, call: Call) -> None:
        del self._asked[call]
        sender = call.caller
        if sender in self._goodbye.senders and all(each.caller != sender for each in self._asked):
            self._away[sender] = self._kernel.clock.peek()
            self._look(sender)

    def _look(self, sender: str) -> None:
        """Whether it has been away for too long; if not yet, at that time again."""
        since = self._away.get(sender)
        if since is None or sender in self._heard:
            return
        patience = self._patience[sender] * (1 if sender == self._goodbye.program else RETURNS)
        if self._kernel.clock.peek() < since + patience:
            self._kernel.scheduler.at(since + patience, lambda: self._look(sender))
            return
        if sender in self._gone:
            return
        self._gone.add(sender)
        is_program = sender == self._goodbye.program
        text = (
            "the program's node is out of reach: the app is over"
            if is_program
            else "a node that calls this one is gone"
        )
        fields = {"node": sender, "after_ms": patience // MS}
        self._kernel.logbook.record(
            self._kernel.node.name, text, level="error" if is_program else "warn", fields=fields
        )
        if is_program:
            self._learn("program")

    def heard(self, sender: str, why: str) -> None:
        """A node has said goodbye. Strangers are not listened to. `why`: "", or who was lost: "program" or "caller"."""
        if sender in self._goodbye.senders:
            self._heard.add(sender)
            if why != "caller":
                self._learn(why)

    def leave(self) -> None:
        """This node was told to stop, and the app goes on: whoever asks is to ask the one that takes its place."""
        self._leaves = True
        for call in list(self._asked):
            self._turn_away(call)

    def _turn_away(self, call: Call) -> None:
        call.end(Code.UNAVAILABLE, f"{self._kernel.node.name} is stopping".encode(), executed=False)

    def _learn(self, why: str) -> None:
        """The program has ended, or is lost: all that ask are told."""
        if not self._known:
            self._known, self._why = True, why
            for call in list(self._asked):
                self._answer(call)

    def _answer(self, call: Call) -> None:
        call.end(Code.OK, LOST if self.lost else b"")

    # --- those that this node requires -------------------------------------------------------------------------------

    def begin(self, drive: Callable[[Callable[[], bool]], None]) -> None:
        """Sees to it that the questions have been asked: a program may compute from now on, and look at nothing."""
        clock = self._kernel.clock
        end = clock.peek() + LOOK
        self._kernel.scheduler.at(end, lambda: None)
        drive(lambda: clock.peek() >= end or all(call.entered or call.ended for call in self._asking.values()))

    def _attend(self, node: str) -> Call:
        call = ask(self._peers[node], SERVICE, ATTEND, caller=self._kernel.node.name, within=OPEN)
        call.then(lambda call: self._attended(node, call))
        return call

    def _attended(self, node: str, call: Call) -> None:
        if call.code is Code.OK:
            self._learn("program" if call.reply == LOST else "")
            return

        def again() -> None:
            self._asking[node] = self._attend(node)

        self._kernel.scheduler.at(self._kernel.clock.peek() + LOOK, again)

    def tell(self, drive: Callable[[Callable[[], bool]], None]) -> None:
        """Says goodbye to all that are to hear it; one that does not answer is asked again, for the call timeout."""
        peers, me, why = self._peers, self._kernel.node.name, self._why if self._known or self._goodbye.senders else ""
        told: set[str] = set()
        end = self._kernel.clock.peek() + self._kernel.node.call

        def say(node: str) -> None:
            call = ask(peers[node], SERVICE, GOODBYE, caller=me, lost=why)
            call.then(lambda call: told.add(node) if call.status == 0 else again(node, call.reply))

        def again(node: str, reply: bytes) -> None:
            if self._kernel.clock.peek() >= end:
                told.add(node)
                fields = {"node": node, "error": reply.decode("utf-8", "replace")}
                self._kernel.logbook.record(me, "goodbye not heard", level="warn", fields=fields)
            else:
                self._kernel.scheduler.at(self._kernel.clock.peek() + 100 * MS, lambda: say(node))

        for node in sorted(peers):
            say(node)
        drive(lambda: len(told) == len(peers))
