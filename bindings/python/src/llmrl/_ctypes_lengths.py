"""Output lengths that were seen, of the ctypes backend: numbers in, numbers out; ``_lengths.py`` has the words."""

from __future__ import annotations

from ctypes import byref, c_uint64, c_void_p

from ._ctypes_parts import check, lib


class _Handle:
    def __init__(self, names: int) -> None:
        self.pointer = c_void_p()
        check(lib.llmrl_lengths_new(names, byref(self.pointer)), "Lengths")

    def __del__(self) -> None:
        pointer, self.pointer.value = self.pointer.value, None
        if pointer and lib is not None:
            lib.llmrl_lengths_free(pointer)


def lengths_new(names: int) -> _Handle:
    return _Handle(names)


def lengths_record(handle: _Handle, key: bytes, model: bytes, output_tokens: int) -> None:
    check(lib.llmrl_lengths_record(handle.pointer, key, len(key), model, len(model), output_tokens), "record")


def lengths_estimate(handle: _Handle, key: bytes, model: bytes, permille: int, max_tokens: int) -> int:
    out = c_uint64()
    status = lib.llmrl_lengths_estimate(handle.pointer, key, len(key), model, len(model), permille, max_tokens, byref(out))
    check(status, "estimate")
    return out.value
