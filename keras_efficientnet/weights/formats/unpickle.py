"""Bounded unpickler of plain containers, which calls only allowed functions.

Python's unpickler executes everything in a file before the result can be inspected: it
would hash a tuple nested a million deep, which crashes the process, or tuples that
contain their predecessor twice over forty levels, which takes years. Here the work of
each step is bounded.

Source: Python, Lib/pickletools.py (meaning of each instruction).
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

MAX_STEPS = 2_000_000  # many times the steps for a checkpoint of the largest network
_MAX_ARGUMENTS = 16
_MAX_INT_KEY = (1 << 61) - 2  # integers up to it have distinct hashes

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_LITERALS = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
        *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINSTRING", "SHORT_BINSTRING"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    )
)
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
}


class Opaque:
    """Stand-in for an object that is not needed and therefore never created.

    A pickle may call it, set its items and change its state without any effect.

    Attributes:
        name: Name, "module.name", of the class or function in the pickle.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def set_state(self, state: Any) -> None:
        """Drops the state of the object."""


# Types of keys, hashed without recursion.
_KEYS = (str, bytes, int, float, type(None), Opaque)


def load(
    stream: io.BytesIO,
    find_global: Callable[[str], Any],
    find_persistent: Callable[[Any], Any],
) -> Any:
    """Reads one object and advances the stream to its end.

    Args:
        stream: Pickle of protocol 2 or later.
        find_global: Function from "module.name" to a replacement. The pickle may call a
            callable replacement, and set the state of one with a method `set_state`;
            use `Opaque` for anything else.
        find_persistent: Function from a persistent id in the pickle to the object.

    Raises:
        pickle.UnpicklingError: The pickle does anything that is not allowed.
        ValueError: The pickle is damaged.
    """
    machine = _Machine(find_global, find_persistent)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
        if count >= MAX_STEPS:
            raise pickle.UnpicklingError(f"it takes more than {MAX_STEPS} steps")
        try:
            machine.step(opcode.name, argument)
        except (IndexError, KeyError) as error:
            raise pickle.UnpicklingError(
                f"its {opcode.name} lacks an object"
            ) from error
    return machine.stack[-1]


class _Machine:
    def __init__(
        self,
        find_global: Callable[[str], Any],
        find_persistent: Callable[[Any], Any],
    ) -> None:
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._find_global = find_global
        self._find_persistent = find_persistent

    def step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        else:
            method = getattr(self, f"_{name.lower()}", None)
            if method is None:
                raise pickle.UnpicklingError(
                    f"it uses {name}, which is not allowed in a weight file"
                )
            method(argument)

    def _proto(self, _: Any) -> None:
        """Ignores the protocol version; all known instructions are allowed."""

    _frame = _proto

    def _stop(self, _: Any) -> None:
        if len(self.stack) != 1:
            raise pickle.UnpicklingError(f"it ends with {len(self.stack)} objects")

    def _mark(self, _: Any) -> None:
        self._marks.append(len(self.stack))

    def _to_mark(self) -> list[Any]:
        start = self._marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _pop(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise IndexError
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._to_mark()))

    def _tuple1(self, _: Any) -> None:
        self.stack.append(tuple(self._pop(1)))

    def _tuple2(self, _: Any) -> None:
        self.stack.append(tuple(self._pop(2)))

    def _tuple3(self, _: Any) -> None:
        self.stack.append(tuple(self._pop(3)))

    def _append(self, _: Any) -> None:
        self._extend(self._pop(1))

    def _appends(self, _: Any) -> None:
        self._extend(self._to_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Opaque):
            return
        if not isinstance(target, list):
            raise pickle.UnpicklingError(f"it appends to a {type(target).__name__}")
        target.extend(items)

    def _setitem(self, _: Any) -> None:
        self._update(self._pop(2))

    def _setitems(self, _: Any) -> None:
        self._update(self._to_mark())

    def _update(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Opaque):
            return
        if not isinstance(target, dict) or len(items) % 2:
            raise pickle.UnpicklingError(f"it sets items of a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, _KEYS):
                raise pickle.UnpicklingError(f"it has a {type(key).__name__} as a key")
            # Hashes of larger integers take time, are not cached, and can collide.
            if isinstance(key, int) and abs(key) > _MAX_INT_KEY:
                raise pickle.UnpicklingError("it has a huge number as a key")
            target[key] = value

    def _binput(self, number: int) -> None:
        self._memo[number] = self.stack[-1]

    _long_binput = _binput

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self.stack[-1]

    def _binget(self, number: int) -> None:
        self.stack.append(self._memo[number])

    _long_binget = _binget

    def _global(self, names: str) -> None:
        self.stack.append(self._find_global(names.replace(" ", ".", 1)))

    def _stack_global(self, _: Any) -> None:
        names = self._pop(2)
        if not all(isinstance(name, str) for name in names):
            raise pickle.UnpicklingError("it refers to something without a name")
        self.stack.append(self._find_global(".".join(names)))

    def _binpersid(self, _: Any) -> None:
        self.stack.append(self._find_persistent(self._pop(1)[0]))

    def _reduce(self, _: Any) -> None:
        function, arguments = self._pop(2)
        if isinstance(function, Opaque):
            self.stack.append(Opaque(function.name))
            return
        if not callable(function):
            raise pickle.UnpicklingError(f"it calls a {type(function).__name__}")
        if not isinstance(arguments, tuple) or len(arguments) > _MAX_ARGUMENTS:
            raise pickle.UnpicklingError("it calls a function in an unknown way")
        self.stack.append(function(*arguments))

    def _newobj(self, _: Any) -> None:
        kind, _arguments = self._pop(2)
        self._make(kind)

    def _newobj_ex(self, _: Any) -> None:
        kind, _arguments, _options = self._pop(3)
        self._make(kind)

    def _make(self, kind: Any) -> None:
        if not isinstance(kind, Opaque):
            raise pickle.UnpicklingError(f"it makes a {type(kind).__name__}")
        self.stack.append(Opaque(kind.name))

    def _build(self, _: Any) -> None:
        (state,) = self._pop(1)
        set_state = getattr(self.stack[-1], "set_state", None)
        if set_state is None:
            kind = type(self.stack[-1]).__name__
            raise pickle.UnpicklingError(f"it changes {kind}")
        set_state(state)
