"""Guests made by the user's own command, run in the manifest's folder. It finds parigot's libraries by PARIGOT_SDK."""

import os
from pathlib import Path

from parigot_oci.toolchains.seam import Job, compiler

LEFTOVERS = frozenset({"node_modules", "target", "__pycache__"})


def version() -> str:
    """Nothing is known of what the command runs."""
    return ""


def inputs(source: Path, sdk: Path) -> tuple[Path, ...]:
    del sdk  # whether the command uses it is not known either
    return (source,)


def compile(job: Job) -> None:
    said = compiler(job.command[0], job.command, job, job.root, {**os.environ, "PARIGOT_SDK": str(job.sdk)})
    if said.strip():
        job.progress(said.strip())
