"""
What an app's images stand on, chosen and pinned: the base and the wheels, in the lock's sections `base` and `wheels`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parigot_oci import debian, wheels
from parigot_oci.base import Base, Images, distroless, named
from parigot_oci.errors import LockError, Problem
from parigot_oci.lock import Lock


@dataclass(frozen=True, kw_only=True)
class Ground:
    """
    `lock` is the lock with what was chosen; `wheels`: file name -> SHA-256; `outward`: more of them, for nodes that need those of
    wheels.OUTWARD.
    """

    base: Base
    wheels: wheels.Pins
    lock: Lock
    outward: Mapping[str, str] = field(default_factory=dict)


def choose(
    lock: Lock,
    image: str,
    images: Callable[[], Images],
    *,
    outward: bool = False,
    update: bool = False,
    locked: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> Ground:
    """
    The base (an image that the user names, else Debian packages) and wheels that the lock pins, or newly chosen ones
    where it pins none or `update` is set; with `locked` that is a LockError. `outward`: some node needs those wheels.
    Raises BaseError, EngineError.
    """
    key = image or f"debian {debian.architecture()}"
    pinned: Mapping[str, Any] | None = None if update else lock.sections.get("base", {}).get(key)
    if locked and not pinned:
        raise _unpinned(f"the base ({key})")
    base = named(image, images(), pinned) if image else distroless(pinned, warn=warn)
    lock = _pin(lock, "base", key, dict(base.pins))
    chosen, lock = _wheels(base, lock, "", wheels.NEEDED, update=update, locked=locked)
    more: wheels.Pins = {}
    if outward:
        more, lock = _wheels(base, lock, " outward", wheels.OUTWARD, update=update, locked=locked)
    return Ground(base=base, wheels=chosen, lock=lock, outward=more)


def _wheels(
    base: Base, lock: Lock, what: str, needed: Sequence[str], *, update: bool, locked: bool
) -> tuple[wheels.Pins, Lock]:
    """Those of the lock, or new ones, and the lock with them; `what` follows the platform's name there."""
    key = _platform(base) + what
    pinned: wheels.Pins | None = None if update else lock.sections.get("wheels", {}).get(key)
    if locked and not pinned:
        raise _unpinned(f"the wheels for {key}")
    chosen = pinned or wheels.resolved(base.version, base.architecture, base.libc, needed)
    return chosen, _pin(lock, "wheels", key, dict(chosen))


def _platform(base: Base) -> str:
    return f"python {base.version} {base.architecture} {base.libc}"


def _pin(lock: Lock, section: str, key: str, value: Mapping[str, Any]) -> Lock:
    return lock.with_section(section, {**lock.sections.get(section, {}), key: value})


def _unpinned(what: str) -> LockError:
    return LockError(
        Problem(what=f"parigot.lock does not pin {what}", hint="build once without --locked, and commit it")
    )
