"""
Delays packets: `python -m tests.faults.packets QUEUE MS` lets each packet of a netfilter queue go on so many milliseconds late.

For kernels without netem. It speaks nfnetlink_queue (linux/netfilter/nfnetlink_queue.h) by itself: to bind a queue, to be told of
packets and to let them pass. It says "ready" once it is bound, and runs until it is ended.
"""

import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Iterator

NETFILTER = 12
"""NETLINK_NETFILTER."""
QUEUE = 3 << 8
"""NFNL_SUBSYS_QUEUE."""
PACKET, VERDICT, CONFIG = QUEUE | 0, QUEUE | 1, QUEUE | 2
BIND, COPY_META, ACCEPT = 1, 1, 1
ATTRIBUTE_COMMAND, ATTRIBUTE_PARAMETERS, ATTRIBUTE_LENGTH = 1, 2, 3
PACKET_HEADER, VERDICT_HEADER = 1, 2
REQUEST, ACKNOWLEDGE, ERROR = 1, 4, 2
LONGEST = 4_096
"""Packets that may wait."""


def message(kind: int, queue: int, number: int, *attributes: tuple[int, bytes], flags: int = REQUEST) -> bytes:
    """A netlink message about a queue. Each attribute is padded to four bytes."""
    body = struct.pack(">BBH", socket.AF_UNSPEC, 0, queue)
    for attribute, value in attributes:
        body += struct.pack("=HH", 4 + len(value), attribute) + value + bytes(-len(value) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, flags, number, 0) + body


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each message in what was received."""
    at = 0
    while at + 16 <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        yield kind, data[at + 16 : at + length]
        at += (length + 3) & ~3


def packet_id(body: bytes) -> int:
    """Of a message that tells of a packet. The attributes follow four bytes of a header."""
    at = 4
    while at + 4 <= len(body):
        length, kind = struct.unpack_from("=HH", body, at)
        if kind == PACKET_HEADER:
            (found,) = struct.unpack_from(">I", body, at + 4)
            return int(found)
        at += (length + 3) & ~3
    raise ValueError("a packet without a header")


def bound(queue: int) -> socket.socket:
    """A socket that is told of the queue's packets. Raises OSError."""
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
    link.bind((0, 0))
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    command = struct.pack(">BBH", BIND, 0, socket.AF_INET)
    parameters = struct.pack(">IB", 0, COPY_META)
    for number, attribute in enumerate(
        [
            (ATTRIBUTE_COMMAND, command),
            (ATTRIBUTE_PARAMETERS, parameters),
            (ATTRIBUTE_LENGTH, struct.pack(">I", LONGEST)),
        ]
    ):
        link.send(message(CONFIG, queue, number, attribute, flags=REQUEST | ACKNOWLEDGE))
        for kind, body in messages(link.recv(65_536)):
            (error,) = struct.unpack_from("=i", body)
            if kind == ERROR and error:
                raise OSError(-error, "nfnetlink_queue")
    return link


def delay(queue: int, seconds: float) -> None:
    """Runs until the process is ended."""
    link = bound(queue)
    print("ready", flush=True)
    waiting: deque[tuple[float, int]] = deque()
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            verdict = struct.pack(">II", ACCEPT, waiting.popleft()[1])
            link.send(message(VERDICT, queue, 0, (VERDICT_HEADER, verdict)))
        left = max(0.0, waiting[0][0] - now) if waiting else None
        if select.select([link], [], [], left)[0]:
            due = time.monotonic() + seconds
            waiting.extend((due, packet_id(body)) for kind, body in messages(link.recv(65_536)) if kind == PACKET)


if __name__ == "__main__":
    delay(int(sys.argv[1]), int(sys.argv[2]) / 1_000)
