"""The package as a whole: names, types, versions, the two backends side by side."""

from __future__ import annotations

import ast
import inspect
from importlib import metadata, resources

import pytest

import llmrl
from llmrl import _abi

TYPES = ["Acquire", "BucketMap", "Limiter", "ManualClock", "Map", "Permit", "TokenBucket"]
# What routers and fair queues are made of; see _router.py and _fair.py, where the documentation is.
PARTS = ["FairSlip", "RawFair", "RawRouter", "Slip"]


def public(kind: type) -> set[str]:
    # Python-written classes have a few names that C types do without.
    extra = {"__annotations__", "__weakref__", "__dict__", "__slots__", "__module__", "__del__", "__init__", "__new__", "__static_attributes__",
             "__firstlineno__", "__doc__", "__getstate__", "__iter__", "__next__", "__orig_bases__", "__parameters__", "__abstractmethods__"}  # fmt: skip
    ours = [part for part in kind.__mro__ if part.__module__.split(".")[0] == "llmrl"]
    return {name for part in ours for name in vars(part) if not name.startswith("_") or name.startswith("__")} - extra


def test_everything_is_exported():
    for name in llmrl.__all__:
        assert hasattr(llmrl, name)
    assert llmrl.backend in ("native", "ctypes")


def test_versions_agree():
    assert llmrl.__version__ == metadata.version("llmrl")


def test_no_runtime_dependencies():
    required = [line for line in metadata.requires("llmrl") or [] if "extra ==" not in line]
    assert required == []


def test_typed():
    assert (resources.files("llmrl") / "py.typed").is_file()
    assert (resources.files("llmrl") / "_native.pyi").is_file()


@pytest.mark.parametrize("name", TYPES)
def test_backends_offer_the_same(name):
    native = pytest.importorskip("llmrl._native", exc_type=ModuleNotFoundError)
    from llmrl import _ctypes

    ours, theirs = getattr(native, name), getattr(_ctypes, name)
    assert public(ours) == public(theirs)
    for method in public(ours):
        function = getattr(theirs, method)
        if method.startswith("__") or not callable(function):
            continue
        want = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
        try:
            have = list(inspect.signature(getattr(ours, method)).parameters.values())
        except ValueError:
            pytest.fail(f"{name}.{method} has no text signature")
        have = [p for p in have if p.name != "self"]
        assert [(p.name, p.kind, p.default) for p in have] == [(p.name, p.kind, p.default) for p in want], method
        assert getattr(ours, method).__doc__


@pytest.mark.parametrize("name", PARTS)
def test_backends_offer_the_same_parts(name):
    native = pytest.importorskip("llmrl._native", exc_type=ModuleNotFoundError)
    from llmrl import _ctypes

    assert public(getattr(native, name)) == public(getattr(_ctypes, name))


def test_backends_offer_the_same_function():
    native = pytest.importorskip("llmrl._native", exc_type=ModuleNotFoundError)
    from llmrl import _ctypes

    have, want = (inspect.signature(module.read_answer).parameters.values() for module in (native, _ctypes))
    assert [(p.name, p.kind, p.default) for p in have] == [(p.name, p.kind, p.default) for p in want]
    assert native.read_answer.__doc__


def test_stub_file_matches_the_extension():
    native = pytest.importorskip("llmrl._native", exc_type=ModuleNotFoundError)
    stub = ast.parse((resources.files("llmrl") / "_native.pyi").read_text(encoding="utf-8"))
    described = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    assert set(described) == {*TYPES, *PARTS}
    for name, node in described.items():
        names = {item.name for item in node.body if isinstance(item, ast.FunctionDef) or isinstance(item, ast.AsyncFunctionDef)}
        for method in names:
            assert hasattr(getattr(native, name), method), f"{name}.{method}"
        missing = {m for m in vars(getattr(native, name)) if not m.startswith("__")} - names
        assert not missing, f"{name} is described without {missing}"


def test_exactly_one_library_is_carried():
    assert _abi.library_path().is_file()
    assert len(list(_abi.library_path().parent.glob("libllmrl*"))) == 1


def test_subclassing_is_refused_where_it_would_not_work():
    native = pytest.importorskip("llmrl._native", exc_type=ModuleNotFoundError)
    with pytest.raises(TypeError):
        type("Mine", (native.Permit,), {})
