"""`python -m remora.install [DIR]`: write manifests/, or what is made of it, anew."""

import sys
from pathlib import Path

from remora.install.files import files


def main() -> None:
    """Files that nothing makes any more are removed, among those that say that they are made."""
    root = Path(sys.argv[1] if len(sys.argv) > 1 else "manifests")
    made = files()
    for name, text in made.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for folder in ("crds", "helm", "kustomize", "samples", "schemas"):
        for path in sorted((root / folder).rglob("*")):
            if path.is_file() and str(path.relative_to(root)) not in made:
                path.unlink()
    print(f"{len(made)} files in {root}")


if __name__ == "__main__":
    main()
