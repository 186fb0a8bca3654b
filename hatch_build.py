"""Put the compiled hot path into the wheel where `REMORA_COMPILE=1` asks for it; without, a wheel is pure Python.

Hatchling calls it. What is compiled, and how, is sidecar/compile.py's to say.
https://hatch.pypa.io/latest/plugins/build-hook/reference/
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE = "REMORA_COMPILE"
_WORDS = {"": False, "0": False, "1": True}


class CompiledWheel(BuildHookInterface[Any]):
    """Extension modules beside the hot modules' sources, and a tag that names interpreter and machine."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What an isolated build needs beside hatchling: the project's extra `compile`."""
        return list(self.metadata.core.optional_dependencies["compile"]) if _asked() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """An editable install keeps its sources interpreted: `make compile` builds for them, beside them. Raises
        SystemExit, a line for people, where compiling was asked for and cannot be had."""
        if version != "standard" or not _asked():
            return
        if shutil.which(os.environ.get("CC", "cc").split()[0]) is None:
            raise SystemExit(f"{VARIABLE}=1 needs a C compiler; apt-get install gcc python3-dev, or build without it")
        sys.path.insert(0, self.root)
        from sidecar.c_build import CompileFailed
        from sidecar.compile import compile_into
        from sidecar.compiled import usable

        built = usable()
        if built is None:
            built = Path(self.root, "build", "compiled")  # kept: the next wheel of the same sources is quick
            try:
                compile_into(built, Path(self.root), self.app.display_info)
            except CompileFailed as error:
                raise SystemExit(f"{VARIABLE}=1: the hot path cannot be compiled\n{error}") from error
        for module in sorted(built.rglob("*.so")):
            build_data["force_include"][str(module)] = module.relative_to(built).as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def _asked() -> bool:
    """Raises SystemExit for a word that means neither yes nor no."""
    word = os.environ.get(VARIABLE, "")
    if word not in _WORDS:
        raise SystemExit(f"{VARIABLE} is {word!r}; write 1, or leave it away")
    return _WORDS[word]
