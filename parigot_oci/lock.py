"""
parigot.lock: what the guests said they require and export, kept beside the manifest, committed and enforced.

JSON, the same bytes for the same knowledge. Sections that are not about guests (`base`, `wheels`: what images stand on)
belong to those who read and write them; here they are passed along.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from parigot_oci.errors import LockError, Problem
from parigot_oci.model import App, Declaration
from parigot_oci.state import put

VERSION = 1
NAME = "parigot.lock"
SHOWN = 40
"""Lines of a difference that a terminal gets."""


@dataclass(frozen=True, kw_only=True)
class Locked:
    """One guest: what it requires, and for each service that it exports the hash of each method's messages, or ""."""

    requires: tuple[str, ...] = ()
    exports: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def declaration(self) -> Declaration:
        return Declaration(requires=self.requires, exports={name: tuple(m) for name, m in self.exports.items()})


@dataclass(frozen=True, kw_only=True)
class Lock:
    """
    `externals`: what runs elsewhere. `compilers`: toolchain -> the version that built the guests. `sections`: everything else, as
    JSON values.
    """

    guests: Mapping[str, Locked] = field(default_factory=dict)
    externals: Mapping[str, Locked] = field(default_factory=dict)
    compilers: Mapping[str, str] = field(default_factory=dict)
    sections: Mapping[str, Any] = field(default_factory=dict)

    def with_section(self, name: str, value: Any) -> "Lock":
        """The same lock with one opaque section put in place, or taken out by None."""
        others = {key: old for key, old in self.sections.items() if key != name}
        return replace(self, sections=others if value is None else others | {name: value})


def path(app: App) -> Path:
    """Beside the manifest."""
    return app.root / NAME


def read(file: Path) -> Lock:
    """An empty lock where there is no file. Raises LockError where there is one that cannot be understood."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        if value["version"] != VERSION:
            hint = "Upgrade: pip install -U parigot-oci"
            raise LockError(Problem(what=f"format {value['version']} is not known here", file=str(file), hint=hint))
        return Lock(
            guests={name: _locked(said) for name, said in sorted(value.pop("guests", {}).items())},
            externals={name: _locked(said) for name, said in sorted(value.pop("external", {}).items())},
            compilers=dict(sorted(value.pop("compilers", {}).items())),
            sections={key: value[key] for key in sorted(value) if key != "version"},
        )
    except FileNotFoundError:
        return Lock()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"cannot be understood: {type(error).__name__}: {error}"
        hint = "Resolve merge conflicts in it by hand, or delete it: the next run learns it anew."
        raise LockError(Problem(what=what, file=str(file), hint=hint)) from error


def _locked(said: Mapping[str, Any]) -> Locked:
    exports = {service: dict(sorted(methods.items())) for service, methods in sorted(said["exports"].items())}
    return Locked(requires=tuple(sorted(said.get("requires", ()))), exports=exports)


def text(lock: Lock) -> str:
    """The file's content, sorted throughout."""
    guests = {name: {"requires": g.requires, "exports": g.exports} for name, g in lock.guests.items()}
    value = {**lock.sections, "version": VERSION, "guests": guests, "compilers": lock.compilers}
    if lock.externals:
        value["external"] = {name: {"exports": external.exports} for name, external in lock.externals.items()}
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write(file: Path, lock: Lock) -> bool:
    """Whole or not at all, and only when it says something new: then True. Raises OutputError."""
    content = text(lock).encode()
    if file.exists() and file.read_bytes() == content:
        return False
    put(file, content, hint="Make the folder writable, or use --locked, which writes nothing.")
    return True


def locked(declaration: Declaration, hashed: Callable[[str, str], str]) -> Locked:
    """What the lock keeps of a declaration; `hashed` gives the hash of a service's method, "" where it is not known."""
    return Locked(
        requires=tuple(sorted(declaration.requires)),
        exports={
            service: {method: hashed(service, method) for method in sorted(methods)}
            for service, methods in sorted(declaration.exports.items())
        },
    )


def shown(lines: Sequence[str]) -> str:
    """A diff for the screen: indented, and cut where a person would stop reading."""
    more = [f"  ... and {len(lines) - SHOWN} more"] if len(lines) > SHOWN + 1 else []
    return "\n".join([f"  {line}" for line in (lines[:SHOWN] if more else lines)] + more)


def diff(old: Lock, new: Lock) -> list[str]:
    """What changed, a line each, for a person: `+ store exports demo.Store/Sell`."""
    lines: list[str] = []
    before, after = {**old.guests, **old.externals}, {**new.guests, **new.externals}
    for name in sorted({*before, *after}):
        if name not in after:
            lines.append(f"- {name}")
            continue
        lines.extend(_guest_diff(name, before.get(name, Locked()), after[name]))
        if name not in before and not any(line.startswith(f"+ {name} ") for line in lines):
            lines.append(f"+ {name}")
    for tool in sorted({*old.compilers, *new.compilers}):
        one, other = old.compilers.get(tool, "none"), new.compilers.get(tool, "none")
        if one != other:
            lines.append(f"~ compiler {tool}: {one} → {other}")
    changed = {key for key in {*old.sections, *new.sections} if old.sections.get(key) != new.sections.get(key)}
    return lines + [f"~ {key}" for key in sorted(changed)]


def _guest_diff(name: str, old: Locked, new: Locked) -> Iterator[str]:
    for sign, some, others in (("-", old, new), ("+", new, old)):
        for service in some.requires:
            if service not in others.requires:
                yield f"{sign} {name} requires {service}"
        for service, methods in some.exports.items():
            if service not in others.exports and not methods:
                yield f"{sign} {name} exports {service}"
            for method in methods:
                if method not in others.exports.get(service, {}):
                    yield f"{sign} {name} exports {service}/{method}"
    for service, methods in new.exports.items():
        for method, hashed in methods.items():
            if old.exports.get(service, {}).get(method, hashed) != hashed:
                yield f"~ {name} exports {service}/{method}: its messages changed"
