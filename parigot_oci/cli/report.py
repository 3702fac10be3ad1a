"""What commands tell of their findings: for a person, or as JSON for a machine."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TypeVar

import typer

from parigot_oci import console
from parigot_oci.errors import ParigotError, Problem
from parigot_oci.model import App, Declaration, Graph
from parigot_oci.protos import Protos
from parigot_oci.wasm import Module, denied

Result = TypeVar("Result")


@dataclass(kw_only=True)
class Found:
    """What a check has found so far."""

    errors: list[ParigotError] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    order: Sequence[str] = ()
    lock: Sequence[str] = ()

    def attempt(self, step: Callable[[], Result]) -> Result | None:
        """A step whose failure is kept, so that others may still be taken; None when it failed."""
        try:
            return step()
        except ParigotError as error:
            self.errors.append(error)
            return None


@contextmanager
def problems(as_json: bool) -> Iterator[Found]:
    """Collects, then tells all; the exit code is that of the first error."""
    found = Found()
    try:
        yield found
    except ParigotError as error:
        found.errors.append(error)
    if as_json:
        console.result(_json(found))
    else:
        for warning in found.warnings:
            console.warn(warning)
        for failure in found.errors:
            console.fail(failure)
        if not found.errors:
            console.result(f"all is well: {', '.join(found.order)}")
    if found.errors:
        raise typer.Exit(found.errors[0].exit_code)


def _json(found: Found) -> str:
    return json.dumps(
        {
            "ok": not found.errors,
            "problems": [asdict(problem) for error in found.errors for problem in error.problems],
            "warnings": [asdict(problem) for problem in found.warnings],
            "order": found.order,
            "lock": found.lock,
        },
        indent=2,
        ensure_ascii=False,
    )


def without_json(app: App, graph: Graph, protos: Protos) -> list[Problem]:
    """Services at a port that no .proto file describes: nobody could call them with JSON."""
    return [
        Problem(
            what=f"{service} of {name} is offered at a port, and no .proto file describes it: no JSON, no `call`",
            file=str(app.file),
            line=app.guests[name].line,
            hint="Name its .proto file or folder under `protos`.",
        )
        for name, said in graph.declarations.items()
        for service in said.exports
        if name in app.guests and app.guests[name].ports and service not in protos.methods
    ]


def module(about: Module, said: Declaration | None, bad: Sequence[Problem], *, as_json: bool) -> str:
    """A .wasm file; `said` is None where it could not be asked, and `bad` says why."""
    closed = {str(each) for each in denied(about)}
    if as_json:
        value = {
            "flavour": about.flavour,
            "digest": about.digest,
            "imports": [{"name": str(each), "denied": str(each) in closed} for each in about.imports],
            "requires": said.requires if said else None,
            "exports": said.exports if said else None,
            "problems": [problem.what for problem in bad],
        }
        return json.dumps(value, indent=2, ensure_ascii=False)
    lines = [f"{about.path.name}: {about.flavour}, sha256 {about.digest}", "imports:"]
    lines += [f"  {each}{'  (denied)' if str(each) in closed else ''}" for each in about.imports]
    if said:
        lines += ["requires:", *(f"  {service}" for service in said.requires)]
        lines += ["exports:", *(f"  {service}: {', '.join(methods)}" for service, methods in said.exports.items())]
    return "\n".join(lines)
