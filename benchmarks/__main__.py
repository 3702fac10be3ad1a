"""
`python -m benchmarks run [--quick] [--out DIR] [GROUP[:CONTESTANT,...]...]`: measures, prints tables, writes results.json
and picture.svg.
`python -m benchmarks recompute FILE`: prints the tables from the file's raw samples, and fails where it says otherwise itself.
`python -m benchmarks readme [FILE]`: puts a run into the README, and its samples and picture into docs/.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import machine, report
from benchmarks.results import Results, load
from benchmarks.runner import Group, Record, only, run
from benchmarks.speaker import ROOT
from benchmarks.suite import compose, crowd, images, instances, local, making, remote, waiting
from benchmarks.suite.scale import Scale
from benchmarks.workshop import Workshop

OUT = ROOT / "dist" / "benchmarks"
GROUPS: Sequence[Callable[[Workshop, Scale], Group]] = (
    local.bare,
    local.typed,
    remote.latency,
    remote.throughput,
    waiting.front,
    waiting.fan_out,
    instances.group,
    crowd.start_up,
    crowd.many,
    making.builds,
    making.sizes,
    images.group,
    compose.group,
)
FAILED = 1


def main(words: Sequence[str]) -> int:
    """Returns the exit code: 0, or FAILED where a contestant failed or a file is not what it says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="measure")
    running.add_argument(
        "groups", nargs="*", metavar="GROUP", help="some of them: local typed remote throughput front ..."
    )
    running.add_argument(
        "--quick", action="store_true", help="next to nothing of each, to see whether everything works"
    )
    running.add_argument("--out", type=Path, default=OUT, help="where results.json and picture.svg go")
    for name in ("recompute", "readme"):
        reading = commands.add_parser(name)
        reading.add_argument("file", nargs="?", type=Path, default=OUT / "results.json")
    chosen = parser.parse_args(words)
    try:
        if chosen.command == "run":
            return measure(chosen.groups, chosen.out, Scale(chosen.quick), words)
        return recompute(chosen.file) if chosen.command == "recompute" else readme(chosen.file)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return FAILED


def measure(names: Sequence[str], out: Path, scale: Scale, words: Sequence[str]) -> int:
    OUT.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(OUT, say)
    groups = [make(workshop, scale) for make in GROUPS]
    kept, missing = only(groups, names)
    about = machine.describe(["python", "-m", "benchmarks", *words])
    record = Record({}, dict(missing), {})
    began = time.monotonic()
    for group in kept:
        run(group, record, say)
    about |= {"quick": scale.quick, "seconds": round(time.monotonic() - began), "load_after": machine.load()}
    results = Results(about, record.series, record.missing)
    path = report.write(results, out)
    print(report.text(load(path)))
    print(f"raw samples: {path}\npicture: {path.with_name('picture.svg')}")
    for name, why in record.broken.items():
        print(f"FAILED: {name}: {why}", file=sys.stderr)
    return FAILED if record.broken else 0


def recompute(path: Path) -> int:
    print(report.text(load(path)))
    different = report.recomputed(path)
    for what in different:
        print(f"{path} says something else than its samples do of: {what}", file=sys.stderr)
    return FAILED if different else 0


def readme(path: Path) -> int:
    if report.recomputed(path):
        return recompute(path)
    report.into_readme(path)
    return 0


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
