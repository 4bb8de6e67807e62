"""Builds cnnlib._kernels: csrc/ once per instruction set, bound by a thin Cython module.

Everything static is in pyproject.toml. One thing needs code: the objects of one instruction set get flags of their
own, and only they, so that the rest runs on every machine. CNNLIB_CFLAGS adds flags for all objects;
CNNLIB_SANITIZE=address,undefined builds with these sanitizers (docs/sanitizers.md).
"""

from __future__ import annotations

import os
import platform
import shlex
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError

CFLAGS = ["-std=gnu11", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wextra"]
# What is called once an operation, float64's drivers, and the instruction set of last resort are to be small rather
# than fast. Kernels do without the compiler's last reordering, which makes them larger and no faster; those for float64
# are a third smaller without what -O3 unrolls and counts, and some are slower for it, batch moments by a fourth.
BINDING, DRIVERS, LAST_RESORT = ["-Os"], ["-O2"], ["-Os"]
KERNELS = {"f32": ["-O3", "-fno-schedule-insns2"], "f64": ["-O2", "-fno-schedule-insns2", "-fno-ivopts"]}
# Neither tables for debuggers nor names of functions, but for who looks inside and asks for it by flags of his own.
LEAN = ["-fno-asynchronous-unwind-tables", "-fno-unwind-tables"]
STRIP = ["-Wl,-x"] if sys.platform == "darwin" else ["-s"]
SANITIZE = ["-O0", "-g1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all"]
ISA_FLAGS = {
    "x86_64": {
        "avx2": ["-mavx2", "-mfma"],
        "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl"],
    },
    "arm64": {"neon": []},
}
MACHINES = {"AMD64": "x86_64", "aarch64": "arm64"}
DRIVER_SOURCES = [
    "csrc/dispatch.c",
    "csrc/parallel.c",
    "csrc/drivers/f32.c",
    "csrc/drivers/warp.c",
]
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "freethreading_compatible": True,  # the module has no state but what csrc keeps in atomics
}


def machine() -> str:
    """The processor that is compiled for; macOS names it in ARCHFLAGS when it is not this one."""
    archs = [word for word in shlex.split(os.environ.get("ARCHFLAGS", "")) if word in ("x86_64", "arm64")]
    if len(archs) > 1:
        raise SystemExit("cnnlib: build one wheel per architecture; ARCHFLAGS names " + ", ".join(archs))
    return archs[0] if archs else MACHINES.get(platform.machine(), platform.machine())


def extra_flags() -> list[str]:
    """What the environment asks for: for the compiler and the linker."""
    sanitizers = os.environ.get("CNNLIB_SANITIZE")
    sanitize = [f"-fsanitize={sanitizers}", *SANITIZE] if sanitizers else []
    return sanitize + shlex.split(os.environ.get("CNNLIB_CFLAGS", ""))


class BuildKernels(build_ext):
    """Compiles isa/<name>.c with that instruction set's flags, once per element type, and links the objects in."""

    def build_extension(self, ext: Extension) -> None:
        """Objects of each instruction set first, then what calls them, then the binding."""
        added = extra_flags()
        common = CFLAGS + (added or LEAN)

        def compile_apart(sources: list[str], flags: list[str], real: str = "") -> None:
            ext.extra_objects += self.compiler.compile(
                sources,
                output_dir=os.path.join(self.build_temp, real),
                macros=[*ext.define_macros, *([(f"CNN_ONLY_{real.upper()}", "1")] if real else [])],
                extra_postargs=flags + common,
                depends=ext.depends,
            )

        for isa, flags in {"baseline": [], **ISA_FLAGS.get(machine(), {})}.items():
            try:
                for real, level in KERNELS.items():
                    compile_apart([f"csrc/isa/{isa}.c"], (LAST_RESORT if isa == "baseline" else level) + flags, real)
            except CompileError:
                if isa == "baseline":
                    raise
                print(f"cnnlib: this compiler cannot build for {isa}: left out", file=sys.stderr)
                continue
            if isa != "baseline":
                ext.define_macros.append((f"CNN_WITH_{isa.upper()}", "1"))
        compile_apart(DRIVER_SOURCES, DRIVERS)
        compile_apart(["csrc/drivers/f64.c"], LAST_RESORT)
        ext.extra_compile_args = BINDING + common
        ext.extra_link_args = ["-pthread", "-lm", *(added or STRIP)]
        super().build_extension(ext)


kernels = Extension(
    "cnnlib._kernels",
    ["cnnlib/_kernels.pyx"],
    include_dirs=["csrc"],
    depends=["setup.py", *(str(path) for path in sorted(Path("csrc").rglob("*.[ch]")))],
)
setup(ext_modules=cythonize([kernels], compiler_directives=DIRECTIVES), cmdclass={"build_ext": BuildKernels})
