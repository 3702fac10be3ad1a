"""
What an app's images stand on, chosen and pinned: the base and the wheels, in the lock's sections `base` and `wheels`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from parigot_oci import debian, wheels
from parigot_oci.base import Base, Images, distroless, named
from parigot_oci.errors import BaseError, LockError, Problem
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
    architecture: str = "",
    outward: bool = False,
    update: bool = False,
    locked: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> Ground:
    """
    The base (an image that the user names, else Debian packages) and wheels that the lock pins, or newly chosen ones
    where it pins none or `update` is set; with `locked` that is a LockError. `architecture`: what they are for, this
    machine's where it is not said; `outward`: some node needs those wheels. Raises BaseError, EngineError.
    """
    if image:
        base = _named(image, images(), architecture, _pinned(lock, image, update=update, locked=locked))
        lock = _pin(lock, "base", image, dict(base.pins))
    else:
        native, lock = _debian(lock, debian.architecture(), None, update=update, locked=locked, warn=warn)
        base = native
        if architecture and architecture != native.architecture:
            base, lock = _debian(lock, architecture, native, update=update, locked=locked, warn=warn)
    chosen, lock = _wheels(base, lock, "", wheels.NEEDED, update=update, locked=locked)
    more: wheels.Pins = {}
    if outward:
        more, lock = _wheels(base, lock, " outward", wheels.OUTWARD, update=update, locked=locked)
    return Ground(base=base, wheels=chosen, lock=lock, outward=more)


def choose_all(
    lock: Lock,
    image: str,
    images: Callable[[], Images],
    architectures: Sequence[str],
    *,
    outward: bool = False,
    update: bool = False,
    locked: bool = False,
    warn: Callable[[str], None] = lambda _: None,
) -> tuple[tuple[Ground, ...], Lock]:
    """`choose` for each architecture, in this order, and the lock with all that was chosen; what they share is chosen once."""
    grounds: list[Ground] = []
    for architecture in architectures:
        ground = choose(
            lock, image, images, architecture=architecture, outward=outward, update=update, locked=locked, warn=warn
        )
        grounds.append(ground)
        lock = ground.lock
    return tuple(grounds), lock


def _pinned(lock: Lock, key: str, *, update: bool, locked: bool) -> Mapping[str, Any] | None:
    pinned: Mapping[str, Any] | None = None if update else lock.sections.get("base", {}).get(key)
    if locked and not pinned:
        raise _unpinned(f"the base ({key})")
    return pinned


def _named(image: str, images: Images, architecture: str, pinned: Mapping[str, Any] | None) -> Base:
    base = named(image, images, pinned)
    if architecture and base.architecture != architecture:
        what = f"the engine's {image} is for {base.architecture}, and images for {architecture} are wanted"
        hint = "leave the base out: then images stand on Debian packages, which can be had for both"
        raise BaseError(Problem(what=what, hint=hint))
    return base


def _debian(
    lock: Lock, arch: str, native: Base | None, *, update: bool, locked: bool, warn: Callable[[str], None]
) -> tuple[Base, Lock]:
    key = f"debian {arch}"
    base = distroless(_pinned(lock, key, update=update, locked=locked), native=native, arch=arch, warn=warn)
    return base, _pin(lock, "base", key, dict(base.pins))


def _wheels(
    base: Base, lock: Lock, what: str, needed: Sequence[str], *, update: bool, locked: bool
) -> tuple[wheels.Pins, Lock]:
    """Those of the lock, or new ones, and the lock with them; `what` follows the platform's name there."""
    key = _platform(base) + what
    pinned: wheels.Pins | None = None if update else lock.sections.get("wheels", {}).get(key)
    if locked and not pinned:
        raise _unpinned(f"the wheels for {key}")
    if pinned is not None and (wrong := wheels.wrong(pinned)):
        what = f"parigot.lock pins {wrong!r}, which is no wheel and its SHA-256"
        raise LockError(Problem(what=what, hint="take what there is now: parigot-oci build --update-base"))
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
