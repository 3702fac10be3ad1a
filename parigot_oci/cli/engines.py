"""
A Docker Engine, or a registry, for the commands that need one: what speaks to them takes long to load, and most commands do
without.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parigot_oci.builders.engine import Engine
    from parigot_oci.builders.registry import Registry


def connect(say: Callable[[str], None] = lambda _text: None, *, timeout: float = 0) -> "Engine":
    """The engine that the docker command would use. Raises EngineError. `timeout`: seconds of silence, 0 = the usual."""
    from parigot_oci.builders import engine  # noqa: PLC0415 - see above

    return engine.connect(say, timeout=timeout or engine.WAIT)


def registry(place: str, say: Callable[[str], None] = lambda _text: None) -> "Registry":
    """The registry of `HOST[/PREFIX]`. Raises RegistryError."""
    from parigot_oci.builders import registry as registries  # noqa: PLC0415 - see above

    return registries.at(place, say)
