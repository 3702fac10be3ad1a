"""Nodes with certificates, for the tests of TLS: from both sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from parigot_oci import certificates
from tests.shim.running import Process, wait_for

OPEN, SHUT = "test.v1.Open", "test.v1.Shut"
"""Two services of the node `callee`, of which the node `caller` requires the first one."""
YEARS = timedelta(days=4 * 365)


def certify(folder: Path, nodes: Sequence[str], ago: timedelta = timedelta()) -> None:
    """Certificates as they were made so long ago; by an authority that is older, and still valid."""
    now = datetime.now(UTC)
    certificates.ensure(folder, "test", (), now - YEARS)
    certificates.ensure(folder, "test", nodes, now - ago)


@dataclass(frozen=True)
class Callee:
    port: int
    folder: Path
    """Where its certificates are."""
    process: Process

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def waits_for(self, text: str, times: int = 1) -> str:
        return wait_for(self.folder / "log", text, times)
