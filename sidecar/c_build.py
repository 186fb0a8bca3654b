"""From modules to extension modules: mypyc writes C, a C compiler makes of it what can be imported, parts at once."""

import json
import os
import shlex
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

OPTIMISATION = ("-O2", "-g0")
"""The generated C is calls of the interpreter's functions for the most part: a worker's request takes 3 % fewer
instructions than at -O1 (perf, plain-100B), and the compiler two fifths more time."""

_TRANSLATE = """
import json, sys
from mypyc.build import mypycify
made = mypycify(["--ignore-missing-imports", *sys.argv[2:]], multi_file=True)
with open(sys.argv[1], "w") as file:
    json.dump([(each.name, each.sources, each.include_dirs) for each in made], file)
"""
"""A process of its own: mypy looks for modules where it stands, and keeps half a gigabyte."""


class CompileFailed(Exception):
    """mypyc or the C compiler refused; the text is their output's end."""


@dataclass(frozen=True, slots=True)
class Extension:
    """One module to make."""

    name: str
    """Dotted."""
    sources: tuple[str, ...]
    """Of C, relative to where mypyc ran."""
    include_dirs: tuple[str, ...]

    @property
    def path(self) -> str:
        """Where it is imported from."""
        return self.name.replace(".", "/") + str(sysconfig.get_config_var("EXT_SUFFIX"))


def translate(directory: Path, modules: Sequence[str]) -> list[Extension]:
    """Write C for `modules`, paths within `directory`, under build/ there. Raises CompileFailed."""
    plan = directory / "build" / "extensions.json"
    plan.parent.mkdir()
    environment = {**os.environ, "MYPYPATH": str(directory)}
    _run([sys.executable, "-P", "-c", _TRANSLATE, str(plan), *modules], directory, environment)
    return [Extension(name, tuple(sources), tuple(dirs)) for name, sources, dirs in json.loads(plan.read_text())]


def build(directory: Path, extensions: Sequence[Extension], jobs: int, say: Callable[[str], None]) -> None:
    """Compile and link, `jobs` at a time, the one with the code in as many parts. Raises CompileFailed."""
    compiler = _Compiler(directory)
    code = max(extensions, key=lambda each: len(each.sources))
    parts = _parts(directory, code, min(jobs, len(code.sources)))
    with ThreadPoolExecutor(jobs) as pool:
        done = [pool.submit(compiler.compile, part, code) for part in parts]
        others = [pool.submit(compiler.make, each) for each in extensions if each is not code]
        try:
            for count, each in enumerate(as_completed(done), start=1):
                each.result()
                say(f"{count} of {len(parts)} parts compiled")
            for other in others:
                other.result()
        except CompileFailed:
            pool.shutdown(cancel_futures=True)
            raise
    compiler.link([part.with_suffix(".o") for part in parts], code)


def _parts(directory: Path, extension: Extension, count: int) -> list[Path]:
    """Its sources in `count` files of about one size: a compiler's start and the headers are paid once for each."""
    contents: list[list[Path]] = [[] for _ in range(count)]
    sizes = [0] * count
    for source in sorted((directory / each for each in extension.sources), key=lambda each: -each.stat().st_size):
        least = sizes.index(min(sizes))
        sizes[least] += source.stat().st_size
        contents[least].append(source)
    paths: list[Path] = []
    for number, sources in enumerate(contents):
        path = directory / "build" / f"part{number}.c"
        path.write_text("".join(f'#include "{source}"\n' for source in sorted(sources)))
        paths.append(path)
    return paths


class _Compiler:
    """The compiler that the interpreter was made with, or that the environment names."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        own = shlex.split(str(sysconfig.get_config_var("CC")))
        command = shlex.split(os.environ.get("CC", "")) or own
        linker = shlex.split(str(sysconfig.get_config_var("LDSHARED")))
        flags = f"{sysconfig.get_config_var('CFLAGS')} {os.environ.get('CFLAGS', '')}"
        self._compile = [*command, *shlex.split(flags), str(sysconfig.get_config_var("CCSHARED")), *OPTIMISATION, "-w"]
        self._link = [*command, *(linker[len(own) :] if linker[: len(own)] == own else ["-shared"])]

    def compile(self, source: Path, extension: Extension) -> None:
        """To an object file beside it."""
        self._run([*self._compile, *self._includes(extension), "-c", str(source), "-o", str(source.with_suffix(".o"))])

    def link(self, objects: Sequence[Path], extension: Extension) -> None:
        """To where it is imported from."""
        self._run([*self._link, *map(str, objects), "-o", extension.path])

    def make(self, extension: Extension) -> None:
        """Both, for a small one."""
        for source in extension.sources:
            self.compile(self._directory / source, extension)
        self.link([(self._directory / each).with_suffix(".o") for each in extension.sources], extension)

    def _includes(self, extension: Extension) -> list[str]:
        places = [sysconfig.get_path("include"), sysconfig.get_path("platinclude"), *extension.include_dirs, "build"]
        return [f"-I{place}" for place in places]

    def _run(self, command: Sequence[str]) -> None:
        _run(command, self._directory, os.environ)


def _run(command: Sequence[str], directory: Path, environment: "os._Environ[str] | dict[str, str]") -> None:
    done = subprocess.run(  # noqa: S603 - commands of ours
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CompileFailed((done.stdout + done.stderr)[-4000:])
