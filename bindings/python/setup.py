"""Builds libllmrl with cargo, puts it into the package, and compiles the C extension against it.

Without a C compiler, on PyPy and on free-threaded CPython only the library is built; the package then runs over ctypes.
Everything else stands in pyproject.toml.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist
from setuptools.dist import Distribution
from setuptools.errors import BaseError, CCompilerError

HERE = Path(__file__).resolve().parent
# In the repository the crate is two folders up; a source distribution carries it along.
CRATE = next((path for path in (HERE / "crate", HERE.parent.parent) if (path / "Cargo.toml").is_file()), None)
ABI3 = 0x03090000
LIBRARY = {"Darwin": "libllmrl.dylib", "Windows": "llmrl.dll"}.get(platform.system(), "libllmrl.so")


def crate() -> Path:
    if CRATE is None:
        sys.exit("llmrl: no Cargo.toml beside the Python package; build from a clone of the repository or from the sdist")
    return CRATE


def version() -> str:
    found = re.search(r'^version = "([^"]+)"', (crate() / "Cargo.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        sys.exit(f"llmrl: no version in {crate() / 'Cargo.toml'}")
    return found[1]


def wants_extension() -> bool:
    # One abi3 binary serves every CPython with a GIL; free-threaded builds have no stable ABI.
    return platform.python_implementation() == "CPython" and not sysconfig.get_config_var("Py_GIL_DISABLED")


def soname(library: Path) -> str:
    """The name under which the dynamic linker will look for the library, and so the file name that it needs in the package."""
    found = re.search(rb"\0(libllmrl\.so(?:\.[0-9]+)*)\0", library.read_bytes())
    return found[1].decode() if found else library.name


class Build(build_py):
    """Adds libllmrl to the package."""

    def run(self) -> None:
        package = Path(self.build_lib) / "llmrl"
        # A build folder left by an earlier version would add its files to the wheel.
        shutil.rmtree(package, ignore_errors=True)
        super().run()
        target = Path(os.environ.get("CARGO_TARGET_DIR", crate() / "target"))
        cargo = os.environ.get("CARGO", "cargo")
        command = [
            cargo,
            "build",
            "--release",
            "--lib",
            "--target-dir",
            str(target),
            "--manifest-path",
            str(crate() / "Cargo.toml"),
        ]
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError:
            sys.exit("llmrl: cargo was not found; install Rust 1.88 or newer from https://rustup.rs, or set CARGO to its path")
        except subprocess.CalledProcessError as error:
            sys.exit(f"llmrl: {' '.join(command)} failed with status {error.returncode}")
        built = target / "release" / LIBRARY
        # In an editable install the package is the source folder, and the extension looks for the library beside itself.
        for folder in [HERE / "src" / "llmrl"] if self.editable_mode else [package]:
            folder.mkdir(parents=True, exist_ok=True)
            for old in [*folder.glob("libllmrl*"), *folder.glob("llmrl.dll")]:
                old.unlink()
            shutil.copy2(built, folder / soname(built))
        self.distribution.libllmrl = built


class BuildExtension(build_ext):
    """Compiles the extension; when that fails, says so and goes on without it, unless LLMRL_BACKEND=native asks for it."""

    def run(self) -> None:
        if getattr(self.distribution, "libllmrl", None) is None:
            self.run_command("build_py")
        self.library_dirs.append(str(self.distribution.libllmrl.parent))
        try:
            super().run()
        except (BaseError, CCompilerError, OSError) as error:
            if os.environ.get("LLMRL_BACKEND") == "native":
                raise
            print(f"llmrl: the C extension was not built ({error}); the package will run over ctypes", file=sys.stderr)
            self.distribution.ext_modules = []
            self.extensions = []

    def get_outputs(self) -> list[str]:
        return [path for path in super().get_outputs() if Path(path).exists()]


class Wheel(bdist_wheel):
    """Tags: cp39-abi3 with the extension, py3-none with the library alone; both for one platform."""

    def get_tag(self) -> tuple[str, str, str]:
        tags = super().get_tag()
        return tags if self.distribution.ext_modules else ("py3", "none", tags[2])


class Sdist(sdist):
    """Takes the crate along, so that the archive can be built with cargo alone."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        listed = subprocess.run(
            [os.environ.get("CARGO", "cargo"), "package", "--list", "--allow-dirty", "--manifest-path", str(crate() / "Cargo.toml")],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        for name in listed.stdout.split():
            source, destination = crate() / name, Path(base_dir) / "crate" / name
            if source.is_file():
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, destination)


class Binary(Distribution):
    """The package always carries a native library, with or without the extension."""

    def has_ext_modules(self) -> bool:
        return True


def extension() -> Extension:
    linux = platform.system() == "Linux"
    mac = platform.system() == "Darwin"
    return Extension(
        "llmrl._native",
        sources=sorted(str(path.relative_to(HERE)) for path in (HERE / "src/llmrl/_native").glob("*.c")),
        depends=["src/llmrl/_native/native.h"],
        include_dirs=[str(crate() / "include")],
        libraries=["llmrl"],
        define_macros=[("Py_LIMITED_API", hex(ABI3))],
        py_limited_api=True,
        # Calls into the library go straight through the GOT, as its functions are small enough for a PLT hop to show.
        extra_compile_args=[]
        if platform.system() == "Windows"
        else ["-O2", "-g0", "-fvisibility=hidden", *(["-fno-plt"] if linux else [])],
        extra_link_args=["-Wl,-rpath,$ORIGIN", "-Wl,-z,now"] if linux else ["-Wl,-rpath,@loader_path"] if mac else [],
    )


setup(
    version=version(),
    distclass=Binary,
    ext_modules=[extension()] if wants_extension() else [],
    cmdclass={"build_py": Build, "build_ext": BuildExtension, "bdist_wheel": Wheel, "sdist": Sdist},
    options={"bdist_wheel": {"py_limited_api": "cp39"}} if wants_extension() else {},
)
