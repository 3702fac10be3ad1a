"""
What carrying bytes there and back costs at least: two copies, from a first place to a second and from there to a third.

    python -m benchmarks.alternatives.memory
"""

import ctypes

from benchmarks.alternatives.serving import PATTERN, obey


def main() -> None:
    places = [ctypes.create_string_buffer(PATTERN, len(PATTERN)) for _ in range(3)]
    first, second, third = (ctypes.addressof(place) for place in places)

    def calls(_method: str, request: bytes, count: int, _callers: int) -> None:
        size, move = len(request), ctypes.memmove
        for _ in range(count):
            move(second, first, size)
            move(third, second, size)

    obey(calls)


if __name__ == "__main__":
    main()
