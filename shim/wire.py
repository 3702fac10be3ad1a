"""The little of protobuf's encoding that the kernel itself needs (protobuf.dev/programming-guides/encoding)."""


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field with a number below 16."""
    length, size = b"", len(value)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + value
