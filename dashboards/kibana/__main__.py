"""`python -m dashboards.kibana`: write the importable file, or check that it is current."""

import sys
from collections.abc import Sequence
from pathlib import Path

from dashboards.kibana.content import objects
from dashboards.kibana.objects import render
from mesh.flags import Parser

GENERATED = Path(__file__).parent / "generated" / "remora.ndjson"

_EXAMPLE = """\
import it in Kibana under Stack Management, Saved Objects, or with

  curl -H kbn-xsrf:1 -F file=@dashboards/kibana/generated/remora.ndjson \\
      'http://127.0.0.1:5601/api/saved_objects/_import?overwrite=true'
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 1 if the checked file is not current."""
    parser = Parser(
        "python -m dashboards.kibana",
        "A data view, two saved searches and a dashboard for Kibana 8.9 and later.",
        _EXAMPLE,
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the file is not current")
    parser.add_argument("--to", type=Path, default=GENERATED, metavar="FILE", help="where to write (default: here)")
    given = parser.parse_args(argv)
    text = render(objects())
    if not given.check:
        given.to.write_text(text, "utf-8")
        return 0
    if not given.to.exists() or given.to.read_text("utf-8") != text:
        print(f"{given.to} is not current: run python -m dashboards.kibana", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
