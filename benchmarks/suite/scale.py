"""How much is measured: all of it, or next to nothing, to see whether everything works."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """`quick`: one round of a hundredth."""

    quick: bool = False

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 5

    def few(self, count: int, *, least: int = 1) -> int:
        """So many, or a hundredth of it."""
        return max(least, count // 100) if self.quick else count
