"""
`make demo`: the record store of examples/vinyl as one process, in one container and in a container for each service.

Everything is really run each time, and what is said at the end is computed from what came out. Without a Docker Engine
the first part alone. Only documented commands are used; the containers go under project names of their own and publish no
ports, so that they disturb nothing that runs on this machine.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Timer
from typing import Any
from zlib import crc32

import yaml

ROOT = Path(__file__).parent.parent
APP = ROOT / "examples" / "vinyl"
PROGRAM = "client"
CLONE = f"{crc32(bytes(ROOT)):08x}"
"""So that the demos of two clones can run at a time."""
WORK = APP / ".parigot" / "demo"
TOOL = (sys.executable, "-m", "parigot_oci")
SECONDS = 170.0
"""The limit of one command: the first one compiles the guests."""
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
EDITED = Path("examples/vinyl/catalogue/main.go")


LOCK = APP / "parigot.lock"
PINS = ("base", "wheels")
"""Sections of the lock: what images stand on. The example's has none, since that is for each machine to choose."""
UNAVAILABLE = 69
"""The tool's exit code where the engine, or what images stand on, cannot be had."""


class DemoError(Exception):
    """A command that did not do what it should."""


class NoContainersError(DemoError):
    """Nothing wrong with the app: this machine cannot make images, or run them."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the program ended in one way of running the app: `where` says how many of what it ran in."""

    where: str
    stdout: bytes
    code: int


def main() -> int:
    began = time.monotonic()
    missing = ""
    try:
        ask_engine()
        with pins_of_this_machine():
            outcomes, order = everywhere()
    except NoContainersError as error:
        missing = str(error)
        aloud("check")
        single, order = one_process()
        outcomes = [single]
    return last_screen(outcomes, order, missing, time.monotonic() - began)


def everywhere() -> tuple[list[Outcome], str]:
    """All three ways; while the containers start, the others are at work."""
    with ThreadPoolExecutor() as pool, deployments("split", "monolith") as (split, monolith):
        make(split)
        many = pool.submit(deploy, split)
        single, order = one_process()
        make(monolith)
        one = pool.submit(deploy, monolith)
        return [single, finished(one), finished(many)], order


def finished(work: "Future[Outcome]") -> Outcome:
    return work.result(timeout=SECONDS)


def one_process() -> tuple[Outcome, str]:
    """The app in one process, and the order in which its log says that services became ready."""
    step("parigot-oci run")
    done = command(*TOOL, "run", accept=True)
    if done.returncode and not done.stdout:
        raise DemoError(f"parigot-oci run ended with {done.returncode}\n{done.stderr.decode(errors='replace')}")
    ready = re.findall(r"service=(\S+) text=ready$", done.stderr.decode(errors="replace"), re.MULTILINE)
    order = " → ".join([*ready, PROGRAM])
    return Outcome(where="one process", stdout=done.stdout, code=done.returncode), order


@contextmanager
def deployments(*modes: str) -> Iterator[list[str]]:
    """Projects that are gone afterwards, with their networks and volumes."""
    os.environ.setdefault("PARIGOT_NET", f"10.{128 + crc32(bytes(ROOT)) % 128}")  # the example itself may be up
    try:
        yield list(modes)
    finally:
        with ThreadPoolExecutor() as pool:
            list(pool.map(take_down, modes))


@contextmanager
def pins_of_this_machine() -> Iterator[None]:
    """They are in the lock for as long as images are made, and kept beside it: so the clone stays clean."""
    kept = WORK / "pins.json"
    WORK.mkdir(parents=True, exist_ok=True)
    before = json.loads(LOCK.read_text())
    if not set(PINS) & set(before) and kept.exists():
        LOCK.write_text(written({**before, **json.loads(kept.read_text())}))
    try:
        yield
    finally:
        now = json.loads(LOCK.read_text())
        if not set(PINS) & set(before):
            kept.write_text(written({name: now.pop(name) for name in PINS if name in now}))
            LOCK.write_text(written(now))


def written(lock: dict[str, Any]) -> str:
    """As the tool writes it."""
    return json.dumps(lock, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def make(mode: str) -> None:
    base = ("--base", os.environ["BASE"]) if os.environ.get("BASE") else ()
    try:
        aloud("build", "--mode", mode, *base)
    except NoContainersError as error:
        if "--update-base" not in str(error):
            raise
        step("the packages that parigot.lock pins are gone from the mirror: taking those of today")
        aloud("build", "--mode", mode, *base, "--update-base")
    content: dict[str, Any] = yaml.safe_load((APP / "compose.yaml").read_text())
    for service in content["services"].values():
        service.pop("ports", None)
    project_file(mode).write_text(json.dumps({**content, "name": f"demo-{CLONE}-{mode}"}))  # JSON is YAML


def deploy(mode: str) -> Outcome:
    step(f"docker compose up ({mode})")
    compose(mode, "up", "--no-color")
    every = [json.loads(line) for line in compose(mode, "ps", "--all", "--format", "json").stdout.splitlines()]
    (program,) = (each for each in every if each["Service"] == PROGRAM)
    logs = command("docker", "logs", program["ID"])
    number = NUMBERS[len(every)] if len(every) < len(NUMBERS) else str(len(every))
    where = f"{number} container" + "s" * (len(every) > 1)
    return Outcome(where=where, stdout=logs.stdout, code=program["ExitCode"])


def take_down(mode: str) -> None:
    if project_file(mode).exists():
        compose(mode, "down", "--volumes", "--timeout", "2")


def compose(mode: str, *arguments: str) -> "subprocess.CompletedProcess[bytes]":
    where = ("--project-directory", str(APP), "--file", str(project_file(mode)))
    return command("docker", "compose", *where, "--progress", "plain", *arguments)


def project_file(mode: str) -> Path:
    return WORK / f"{mode}.yaml"


def ask_engine() -> None:
    """Raises NoContainersError where no engine with compose answers."""
    if shutil.which("docker") is None:
        raise NoContainersError("there is no `docker` here.")
    try:
        command("docker", "compose", "ls", "--quiet", seconds=10)
    except DemoError as error:
        raise NoContainersError(str(error)) from error


def command(*words: str, accept: bool = False, seconds: float = SECONDS) -> "subprocess.CompletedProcess[bytes]":
    """Runs to its end. Unless any exit code is `accept`ed, another one than 0 is an error, with all that was said."""
    try:
        done = subprocess.run(
            words, cwd=APP, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DemoError(str(error)) from error
    if done.returncode and not accept:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise DemoError(f"`{' '.join(words)}` ended with {done.returncode}:\n{said}")
    return done


def aloud(*words: str) -> None:
    """A command of the tool that may compile: shows what takes long while it does."""
    step(f"parigot-oci {' '.join(words)}")
    said: list[str] = []
    with subprocess.Popen(
        [*TOOL, *words], cwd=APP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        limit = Timer(SECONDS, process.kill)
        limit.start()
        for line in process.stdout or ():
            said.append(line)
            if line.endswith(" ...\n"):
                step(f"  {line.strip()}")
        code = process.wait()
        limit.cancel()
    if code:
        kind = NoContainersError if code == UNAVAILABLE else DemoError
        raise kind(f"`parigot-oci {' '.join(words)}` ended with {code}:\n{''.join(said)}")


def step(what: str) -> None:
    sys.stderr.write(f"  … {what}\n")
    sys.stderr.flush()


def last_screen(outcomes: Sequence[Outcome], order: str, missing: str, seconds: float) -> int:
    first, same = outcomes[0], alike(outcomes)
    print(f"\nstart order   {order}\n\nthe program's output (exit code {first.code})")
    print("".join(f"  {line}\n" for line in first.stdout.decode(errors="replace").splitlines()))
    marks = " ".join(f"{one.where} {'✓' if alike([first, one]) else '✗'}" for one in outcomes)
    print(f"{marks} {'same output' if same else 'NOT THE SAME'}" if len(outcomes) > 1 else marks)
    if not same:
        print("".join(f"\n{one.where}, exit code {one.code}:\n{one.stdout.decode()}" for one in outcomes))
    if missing:
        print(without_engine(missing))
    print(f"\n{edit_to_try()}\n\n({seconds:.1f} s)")
    wanted = os.environ.get("PARIGOT_REQUIRE_ENGINE") == "1"
    return 0 if same and first.code == 0 and not (missing and wanted) else 1


def alike(outcomes: Sequence[Outcome]) -> bool:
    return len({(one.stdout, one.code) for one in outcomes}) == 1


def without_engine(missing: str) -> str:
    return (
        f"\nTHE CONTAINERS WERE LEFT OUT. {missing.strip()}\n\n"
        "For one container and five you need a Docker Engine with compose (https://docs.docker.com/engine/install/) that is\n"
        "started (sudo systemctl start docker) and that you may use; then type  make demo  again. Where no Debian packages\n"
        "can be had, name an image with Python for the containers to stand on:  make demo BASE=python:3.13-slim"
    )


def edit_to_try() -> str:
    """A change of one line that is seen in the output, read off the file as it is now."""
    for number, line in enumerate((ROOT / EDITED).read_text().splitlines(), 1):
        if found := re.search(r'Title: ("[^"]+").*Cents: (\d+)', line):
            title, cents = found[1], int(found[2])
            new = cents - 500 if cents > 500 else cents + 500
            change = f"Cents: {cents}  →  Cents: {new}     (the price of {title})"
            return f"An edit to try: {EDITED}:{number}\n  {change}\nthen  make demo  again."
    return f"An edit to try: anything in {EDITED.parent}, then  make demo  again."


if __name__ == "__main__":
    os.environ.pop("COMPOSE_FILE", None)  # a user's own would be asked instead
    os.environ.pop("COMPOSE_PROJECT_NAME", None)
    try:
        sys.exit(main())
    except DemoError as problem:
        sys.exit(f"\nthe demo stopped: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
