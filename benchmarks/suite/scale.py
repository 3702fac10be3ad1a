"""How much is measured: all of it, or next to nothing, to see whether everything works."""

from dataclasses import dataclass

from benchmarks.runner import Amount

MS = 1e6


@dataclass(frozen=True)
class Scale:
    """`quick`: one round of the least."""

    quick: bool = False

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 5

    def batches(self, ms: float, *, least: int = 1, most: int = 1_000_000) -> Amount:
        """Calls whose time is taken together, a command's worth of so many milliseconds."""
        return Amount(least=least, most=most, aim=0 if self.quick else ms * MS, batched=True)

    def singles(self, ms: float, *, least: int = 5, most: int = 400) -> Amount:
        """Calls of which each is a sample, so many milliseconds of them."""
        return Amount(least=least, most=most, aim=0 if self.quick else ms * MS)
