"""
Things with named fields that do not change. They are made as frozen `dataclasses` with `kw_only` are, and cost a start nothing:
those write source for each class and compile it, and what they need to do so takes as long again; for the shim, a quarter of
its start. (Two are equal when they are one.)
"""

from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, dataclass_transform

NONE: MappingProxyType[Any, Any] = MappingProxyType({})
"""What a field may have that is a mapping and is not given."""

R = TypeVar("R", bound="Record")


@dataclass_transform(kw_only_default=True, frozen_default=True)
class Record:
    """A subclass lists its fields with their types, and the value of one that need not be given. It has no other superclass."""

    _fields: ClassVar[frozenset[str]]
    _needed: ClassVar[frozenset[str]]

    def __init_subclass__(cls) -> None:
        cls._fields = frozenset(cls.__annotations__)
        cls._needed = cls._fields - vars(cls).keys()

    def __init__(self, **given: Any) -> None:
        if not self._needed <= given.keys() <= self._fields:
            missing, unknown = self._needed - given.keys(), given.keys() - self._fields
            raise TypeError(f"{type(self).__name__}: missing {sorted(missing)}, unknown {sorted(unknown)}")
        self.__dict__.update(given)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__}.{name} is not to be changed")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


def replaced(record: R, **changes: object) -> R:
    """The same with other values in some fields."""
    return type(record)(**{**vars(record), **changes})
