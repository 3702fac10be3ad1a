"""
What the shim uses of wasmtime, under the names that others give it: engines, stores, modules, what these import and export.

Who owns something of the library's gives it back when it is collected, and nothing is used after its store is gone.
"""

import ctypes
import functools
import os
from collections.abc import Callable, Sequence

from shim.guests.library import BOOL, BYTE, I64, SIZE, TEXT, U64, P, Vector, address, bound, check, name, pointers

I32, FUNCREF = 0, 5
"""Kinds of values (wasmtime_valkind_t)."""
FUNC, GLOBAL, TABLE, MEMORY = range(4)
"""Kinds of externs (wasmtime_extern_kind_t), and of their types (wasm_externkind_t)."""
VALUES = {0: "i32", 1: "i64", 2: "f32", 3: "f64", 128: "externref", 129: "funcref"}
"""Types of values (wasm_valkind_t)."""

_config_new = bound("wasm_config_new", P)
_config_target = bound("wasmtime_config_target_set", P, P, TEXT)
_config_stack = bound("wasmtime_config_max_wasm_stack_set", None, P, SIZE)
_config_async_stack = bound("wasmtime_config_async_stack_size_set", None, P, U64)
_engine_new = bound("wasm_engine_new_with_config", P, P)
_engine_delete = bound("wasm_engine_delete", None, P)
_increment_epoch = bound("wasmtime_engine_increment_epoch", None, P)
_store_new = bound("wasmtime_store_new", P, P, P, P)
_store_delete = bound("wasmtime_store_delete", None, P)
_store_context = bound("wasmtime_store_context", P, P)
_store_limiter = bound("wasmtime_store_limiter", None, P, *[I64] * 5)
_set_deadline = bound("wasmtime_context_set_epoch_deadline", None, P, U64)
_set_fuel = bound("wasmtime_context_set_fuel", P, P, U64)
_get_fuel = bound("wasmtime_context_get_fuel", P, P, P)
_wat2wasm = bound("wasmtime_wat2wasm", P, TEXT, SIZE, P)
_module_new = bound("wasmtime_module_new", P, P, TEXT, SIZE, P)
_module_delete = bound("wasmtime_module_delete", None, P)
_validate = bound("wasmtime_module_validate", P, P, TEXT, SIZE)
_deserialize = bound("wasmtime_module_deserialize", P, P, TEXT, SIZE, P)
_deserialize_file = bound("wasmtime_module_deserialize_file", P, P, TEXT, P)
_serialize = bound("wasmtime_module_serialize", P, P, P)
_image_range = bound("wasmtime_module_image_range", None, P, P, P)
_module_imports = bound("wasmtime_module_imports", None, P, P)
_module_exports = bound("wasmtime_module_exports", None, P, P)
_imports_delete = bound("wasm_importtype_vec_delete", None, P)
_exports_delete = bound("wasm_exporttype_vec_delete", None, P)
_import_module = bound("wasm_importtype_module", P, P)
_import_name = bound("wasm_importtype_name", P, P)
_import_type = bound("wasm_importtype_type", P, P)
_export_name = bound("wasm_exporttype_name", P, P)
_export_type = bound("wasm_exporttype_type", P, P)
_extern_kind = bound("wasm_externtype_kind", BYTE, P)
_as_function = bound("wasm_externtype_as_functype_const", P, P)
_params = bound("wasm_functype_params", P, P)
_results = bound("wasm_functype_results", P, P)
_function_type = bound("wasm_functype_new", P, P, P)
_function_type_delete = bound("wasm_functype_delete", None, P)
_value_kind = bound("wasm_valtype_kind", BYTE, P)
_value_type = bound("wasm_valtype_new", P, BYTE)
_value_types = bound("wasm_valtype_vec_new", None, P, SIZE, P)
_global_type = bound("wasm_globaltype_new", P, P, BYTE)
_global_type_delete = bound("wasm_globaltype_delete", None, P)
_global_new = bound("wasmtime_global_new", P, P, P, P, P)
_global_set = bound("wasmtime_global_set", P, P, P, P)
_memory_type = bound("wasmtime_memorytype_new", P, U64, BOOL, U64, BOOL, BOOL, BYTE, P)
_memory_type_delete = bound("wasm_memorytype_delete", None, P)
_memory_new = bound("wasmtime_memory_new", P, P, P, P)
_memory_data = bound("wasmtime_memory_data", P, P, P)
_memory_size = bound("wasmtime_memory_data_size", SIZE, P, P)
_memory_grow = bound("wasmtime_memory_grow", P, P, P, U64, P)
_table_size = bound("wasmtime_table_size", U64, P, P)
_table_grow = bound("wasmtime_table_grow", P, P, P, U64, P, P)
_table_set = bound("wasmtime_table_set", P, P, P, U64, P)
_export_get = bound("wasmtime_instance_export_get", BOOL, P, P, TEXT, SIZE, P)


class Config:
    """Settings of an engine, which takes them."""

    def __init__(self) -> None:
        self.pointer = _config_new()

    def set(self, name: str, value: bool) -> None:
        """A setting of yes or no, by its name in the C API."""
        bound(f"wasmtime_config_{name}_set", None, P, BOOL)(self.pointer, value)

    def target(self, triple: str) -> None:
        """Raises WasmtimeError."""
        check(_config_target(self.pointer, triple.encode()))

    def stack(self, size: int) -> None:
        """Bytes of stack for guests."""
        _config_async_stack(self.pointer, size * 2)
        _config_stack(self.pointer, size)


class Engine:
    def __init__(self, config: Config) -> None:
        self.pointer, config.pointer = _engine_new(config.pointer), None

    def increment_epoch(self) -> None:
        _increment_epoch(self.pointer)

    @property
    def epoch(self) -> tuple[int, int | None]:
        """For native code: the address of the function that moves it, and its argument."""
        return address(_increment_epoch), self.pointer

    def __del__(self, delete: Callable[..., object] = _engine_delete) -> None:
        delete(self.pointer)


class Store:
    def __init__(self, engine: Engine) -> None:
        self.pointer = _store_new(engine.pointer, None, None)
        self.context = _store_context(self.pointer)

    def set_limits(self, *, memory: int, elements: int, others: int) -> None:
        """Bytes of a memory, elements of a table; how many instances, tables and memories there may be."""
        _store_limiter(self.pointer, memory, elements, others, others, others)

    def set_epoch_deadline(self, ticks: int) -> None:
        _set_deadline(self.context, ticks)

    def set_fuel(self, fuel: int) -> None:
        check(_set_fuel(self.context, fuel))

    def get_fuel(self) -> int:
        left = U64()
        check(_get_fuel(self.context, ctypes.byref(left)))
        return left.value

    def __del__(self, delete: Callable[..., object] = _store_delete) -> None:
        delete(self.pointer)


# --- modules ---------------------------------------------------------------------------------------------------------


class Module:
    """Machine code, and what it imports (module, name, type) and exports (name, type): see `_type`."""

    def __init__(self, pointer: int, *, of_file: bool = False) -> None:
        """`of_file`: it is mapped from one."""
        self.pointer = pointer
        self.of_file = of_file

    @classmethod
    def compiled(cls, engine: Engine, wasm: bytes) -> "Module":
        """Raises WasmtimeError."""
        made = P()
        check(_module_new(engine.pointer, wasm, len(wasm), ctypes.byref(made)))
        return cls(made.value or 0)

    @classmethod
    def deserialize_file(cls, engine: Engine, path: str) -> "Module":
        """Of machine code, which is mapped. Raises WasmtimeError."""
        made = P()
        check(_deserialize_file(engine.pointer, os.fsencode(path), ctypes.byref(made)))
        return cls(made.value or 0, of_file=True)

    @classmethod
    def deserialize(cls, engine: Engine, code: bytes) -> "Module":
        """The same of machine code in memory."""
        made = P()
        check(_deserialize(engine.pointer, code, len(code), ctypes.byref(made)))
        return cls(made.value or 0)

    def serialize(self) -> bytes:
        made = Vector()
        check(_serialize(self.pointer, ctypes.byref(made)))
        return made.taken()

    def image(self) -> tuple[int, int]:
        """The addresses between which it lies."""
        begin, end = P(), P()
        _image_range(self.pointer, ctypes.byref(begin), ctypes.byref(end))
        return begin.value or 0, end.value or 0

    def imports(self) -> Sequence[tuple[str, str, str]]:
        found = Vector()
        _module_imports(self.pointer, ctypes.byref(found))
        said = [(name(_import_module(each)), name(_import_name(each)), _type(_import_type(each))) for each in found]
        _imports_delete(ctypes.byref(found))
        return said

    def exports(self) -> Sequence[tuple[str, str]]:
        found = Vector()
        _module_exports(self.pointer, ctypes.byref(found))
        said = [(name(_export_name(each)), _type(_export_type(each))) for each in found]
        _exports_delete(ctypes.byref(found))
        return said

    def __del__(self, delete: Callable[..., object] = _module_delete) -> None:
        delete(self.pointer)


def validate(engine: Engine, wasm: bytes) -> None:
    """Raises WasmtimeError."""
    check(_validate(engine.pointer, wasm, len(wasm)))


def wat2wasm(text: str) -> bytes:
    """Raises WasmtimeError."""
    made, given = Vector(), text.encode()
    check(_wat2wasm(given, len(given), ctypes.byref(made)))
    return made.taken()


def _type(extern: int | None) -> str:
    """In words: a function's signature, else global, table, memory or tag."""
    kind = _extern_kind(extern) or 0
    if kind != FUNC:
        return ("", "global", "table", "memory", "tag")[kind]
    function = _as_function(extern)
    params = tuple([_value_kind(each) for each in pointers(_params(function))])
    return _signature(params, tuple([_value_kind(each) for each in pointers(_results(function))]))


@functools.cache
def _signature(params: Sequence[int], results: Sequence[int]) -> str:
    return signature(*([VALUES.get(kind, f"type {kind}") for kind in kinds] for kinds in (params, results)))


def signature(params: Sequence[str], results: Sequence[str]) -> str:
    """A function's type in words: (i32, i32) -> (i64)."""
    return f"({', '.join(params)}) -> ({', '.join(results)})"


class FuncType:
    """Parameters and results in words, i32 or i64. It belongs to the engine that it is used with first."""

    def __init__(self, params: Sequence[str], results: Sequence[str]) -> None:
        given = [_values(params), _values(results)]
        self.pointer = _function_type(*map(ctypes.byref, given))

    def __del__(self, delete: Callable[..., object] = _function_type_delete) -> None:
        delete(self.pointer)


def _values(types: Sequence[str]) -> Vector:
    kinds = {"i32": 0, "i64": 1}
    made, each = Vector(), (P * len(types))(*[_value_type(kinds[kind]) for kind in types])
    _value_types(ctypes.byref(made), len(types), each)
    return made


# --- instances -------------------------------------------------------------------------------------------------------


class Value(ctypes.Structure):
    """wasmtime_val_t: an i32, or a function (none: a null reference)."""

    _fields_ = (("kind", BYTE), ("of", U64 * 3))


class Extern(ctypes.Structure):
    """wasmtime_extern_t: something of a store's. It is a value, and may be copied."""

    _fields_ = (("kind", BYTE), ("of", U64 * 3))
    kind: int

    @property
    def address(self) -> int:
        """Where its wasmtime_func_t, wasmtime_memory_t ... lies, for as long as it is kept."""
        return ctypes.addressof(self) + Extern.of.offset


class Func(Extern):
    def __init__(self) -> None:
        super().__init__(FUNC)


class Global(Extern):
    def __init__(self, store: Store, value: int) -> None:
        """A constant of i32, as it lies in memory."""
        super().__init__(GLOBAL)
        kind, given = _global_type(_value_type(0), 0), Value(I32, (value & 0xFFFFFFFF,))
        check(_global_new(store.context, kind, ctypes.byref(given), self.address))
        _global_type_delete(kind)

    def set(self, store: Store, value: int) -> None:
        """One that may change. Raises WasmtimeError."""
        check(_global_set(store.context, self.address, ctypes.byref(Value(I32, (value & 0xFFFFFFFF,)))))


class Memory(Extern):
    def __init__(self, store: Store, pages: int) -> None:
        """So many at first. Raises WasmtimeError."""
        super().__init__(MEMORY)
        kind = P()
        check(_memory_type(pages, False, 0, False, False, 16, ctypes.byref(kind)))
        error = _memory_new(store.context, kind, self.address)
        _memory_type_delete(kind)
        check(error)

    def base(self, store: Store) -> int:
        """Its address."""
        return _memory_data(store.context, self.address) or 0

    def data_len(self, store: Store) -> int:
        """Bytes of it now."""
        return _memory_size(store.context, self.address) or 0

    def grow(self, store: Store, pages: int) -> None:
        """Raises WasmtimeError."""
        check(_memory_grow(store.context, self.address, pages, ctypes.byref(U64())))


class Table(Extern):
    """Of functions."""

    def size(self, store: Store) -> int:
        return _table_size(store.context, self.address) or 0

    def grow(self, store: Store, count: int, function: Func | None) -> None:
        """Raises WasmtimeError."""
        given = ctypes.byref(_reference(function))
        check(_table_grow(store.context, self.address, count, given, ctypes.byref(U64())))

    def set(self, store: Store, index: int, function: Func | None) -> None:
        """Raises WasmtimeError."""
        check(_table_set(store.context, self.address, index, ctypes.byref(_reference(function))))


def _reference(function: Func | None) -> Value:
    return Value(FUNCREF, tuple(function.of) if function is not None else (0, 0, 0))


class Instance:
    """Its exports, by their names."""

    def __init__(self, store: Store) -> None:
        self._context = store.context
        self.raw = (U64 * 2)()
        """wasmtime_instance_t."""

    def get(self, name: str) -> Extern | None:
        found, wanted = Extern(), name.encode()
        if not _export_get(self._context, self.raw, wanted, len(wanted), ctypes.byref(found)):
            return None
        return _CLASSES[found.kind].from_buffer_copy(found)

    def __getitem__(self, name: str) -> Extern:
        """Raises KeyError."""
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found


_CLASSES = {FUNC: Func, GLOBAL: Global, TABLE: Table, MEMORY: Memory}
