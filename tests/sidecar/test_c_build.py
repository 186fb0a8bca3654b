"""What is made of C files, and what is said when the compiler refuses."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from sidecar.c_build import CompileFailed, Extension, build

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="apt-get install gcc python3-dev")

MODULE = """#include <Python.h>
%s
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "%s", "%s", -1, NULL};
PyMODINIT_FUNC PyInit_%s(void) { return PyModule_Create(&definition); }
"""


def written(directory: Path) -> list[Extension]:
    (directory / "build").mkdir()
    (directory / "within").mkdir()
    files = {
        "a": MODULE % ("const char *word(void);", "code", "", "code"),
        "b": 'const char *word(void) { return "word"; }\n',
        "c": MODULE % ("", "small", "of its own", "small"),
    }
    for name, text in files.items():
        (directory / "build" / f"{name}.c").write_text(text)
    return [Extension("code", ("build/a.c", "build/b.c"), ()), Extension("within.small", ("build/c.c",), ())]


@pytest.mark.parametrize(("jobs", "parts"), [(1, 1), (2, 2), (5, 2)])
def test_every_extension_is_made_where_it_is_imported_from_in_as_many_parts_as_fit(
    tmp_path: Path, jobs: int, parts: int
) -> None:
    extensions = written(tmp_path)
    said: list[str] = []
    build(tmp_path, extensions, jobs, said.append)
    assert said == [f"{count} of {parts} parts compiled" for count in range(1, parts + 1)]
    spec = importlib.util.spec_from_file_location("small", tmp_path / extensions[1].path)
    assert spec is not None
    assert importlib.util.module_from_spec(spec).__doc__ == "of its own"
    assert (tmp_path / extensions[0].path).exists()


def test_what_the_compiler_says_is_the_failure(tmp_path: Path) -> None:
    extensions = written(tmp_path)
    (tmp_path / "build" / "b.c").write_text("this is no C\n")
    with pytest.raises(CompileFailed, match="this is no C"):
        build(tmp_path, extensions, 2, lambda _: None)
    assert not (tmp_path / extensions[0].path).exists()
