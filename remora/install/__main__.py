"""`python -m remora.install [DIR]`: write manifests/ anew, or what it is made of into another directory."""

import sys
from collections.abc import Sequence
from pathlib import Path

from mesh.flags import Parser
from remora.install.files import files

MANIFESTS = Path(__file__).parents[2] / "manifests"

_EXAMPLE = """\
examples:
  python -m remora.install                  the repository's own; what nothing makes any more is removed
  python -m remora.install /tmp/manifests   nothing there is removed
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = Parser(
        "python -m remora.install", "Definitions of kinds, Helm chart, kustomizations, schemas, Bookinfo.", _EXAMPLE
    )
    parser.add_argument("directory", nargs="?", type=Path, default=MANIFESTS, metavar="DIR", help="where to write")
    root = parser.parse_args(argv).directory
    made = files()
    for name, text in made.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if root == MANIFESTS:
        for folder in ("crds", "helm", "kustomize", "samples", "schemas"):
            for path in sorted((root / folder).rglob("*")):
                if path.is_file() and str(path.relative_to(root)) not in made:
                    path.unlink()
    print(f"{len(made)} files in {root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
