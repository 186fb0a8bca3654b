"""docs/metrics.md shows settings that are accepted."""

import re
from pathlib import Path

from collectors.settings.load import load

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_example_of_the_document_is_accepted(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    for name in ("ca.pem", "token"):
        (tmp_path / name).write_text("x")
        (tmp_path / name).chmod(0o600)
    settings = tmp_path / "collector.yaml"
    settings.write_text(example.replace("/etc/remora", str(tmp_path)))
    found = load(settings)
    assert [component.name for component in found.receivers] == ["scrape"]
    assert set(found.processors) == {"tidy", "no-versions", "bounds"}
    assert set(found.exporters) == {"prometheus"}
