import pytest

from control.api import SourceFile, parse
from dashboards.console.templates import TEMPLATES, Template


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.title)
def test_the_control_plane_understands_every_template(template: Template) -> None:
    parsed = parse([SourceFile("template.yaml", template.yaml)])
    assert parsed.violations == ()
    assert len(parsed.resources) == 1
