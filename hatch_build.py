"""Build hook: compiles the modules listed in pyproject.toml with Cython, in place, where that is possible.

The modules are ordinary Python with types for Cython. Without a C compiler (or with HIERSIM_PURE=1) they are
installed as they are and run interpreted: same results, slower. `python hatch_build.py` compiles them in place.
"""

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # called as a script, without the build backend
    BuildHookInterface = object  # type: ignore[assignment,misc]

ROOT = Path(__file__).parent
OPTIONS = [] if os.name == "nt" else ["-O3", "-fno-tree-vectorize", "-g0", "-ffp-contract=off", "-Wno-unused-function"]
"""No contraction of a·b + c: results must not depend on the processor."""
if os.name != "nt":
    OPTIONS.append("-finline-limit=600")  # the loop of events becomes one function: a twentieth fewer instructions
SHARED = "hiersim._memoryviews"
"""What Cython adds to every module that has columns, compiled once; it has no source of ours."""
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "embedsignature": True,
}


def modules() -> list[str]:
    """Dotted names of the modules to compile."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    names: list[str] = project["tool"]["hatch"]["build"]["hooks"]["custom"]["modules"]
    return names


def compile_in_place() -> list[str]:
    """Compile what has changed, beside its source; returns the paths of all libraries."""
    import numpy
    from Cython.Build import cythonize
    from setuptools import Distribution, Extension
    from setuptools.command.build_ext import build_ext

    before = Path.cwd()
    os.chdir(ROOT)
    try:
        extensions = [
            Extension(name, [name.replace(".", "/") + ".py"], include_dirs=[numpy.get_include()],
                      extra_compile_args=OPTIONS)
            for name in modules()
        ]  # fmt: skip
        extensions.append(Extension(SHARED, []))
        made = cythonize(extensions, build_dir="build/cython", compiler_directives=DIRECTIVES, quiet=True,
                         shared_utility_qualified_name=SHARED)  # fmt: skip
        command = build_ext(Distribution({"name": "hiersim", "ext_modules": made}))
        command.build_lib, command.build_temp = "build/libraries", "build/objects"
        command.parallel = os.cpu_count()
        command.ensure_finalized()
        command.run()
        libraries = [command.get_ext_filename(name) for name in (*modules(), SHARED)]
        for library in libraries:
            _place(Path(command.build_lib) / library, Path(library))
        return libraries
    finally:
        os.chdir(before)


def _place(built: Path, target: Path) -> None:
    """Put a library beside its source in one step: processes that run the old one keep it."""
    if target.exists() and target.read_bytes() == built.read_bytes():
        return
    copy = target.with_name(target.name + ".new")
    shutil.copy2(built, copy)
    os.replace(copy, target)


class CustomBuildHook(BuildHookInterface):
    """Called by hatchling for every wheel, editable ones among them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or os.environ.get("HIERSIM_PURE") == "1":
            return
        try:
            libraries = compile_in_place()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            self.app.display_warning(f"hiersim is installed without compiled modules: {error}")
            return
        build_data["artifacts"].extend(libraries)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


if __name__ == "__main__":
    sys.stdout.write("\n".join(compile_in_place()) + "\n")
