"""The little of protobuf's encoding that the kernel itself needs (protobuf.dev/programming-guides/encoding)."""

from collections.abc import Iterator


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field with a number below 16."""
    length, size = b"", len(value)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value


def fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """
    The fields of a message, in order: their numbers with an int (a varint) or bytes (length-delimited). Others are left out; what
    is damaged ends it.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        match key & 7:
            case 0:
                value, at = _varint(message, at)
                if at <= len(message):
                    yield key >> 3, value
            case 2:
                size, at = _varint(message, at)
                if at + size > len(message):
                    return
                yield key >> 3, message[at : at + size]
                at += size
            case 1:
                at += 8
            case 5:
                at += 4
            case _:
                return


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends: beyond the message, where that is cut off."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte, at = message[at], at + 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    return 0, len(message) + 1


def varint(number: int, value: int) -> bytes:
    """A field that is a number, not below 0; its own number is below 16."""
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return bytes([number << 3]) + encoded + bytes([value])
