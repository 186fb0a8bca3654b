"""Where state is when nobody says."""

from pathlib import Path

import pytest

from mesh.state_directory import default_state


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"REMORA_STATE": "/s", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/s"),
        ({"REMORA_STATE": "", "XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/remora"),
        ({"HOME": "/h"}, "/h/.local/state/remora"),
    ],
    ids=["named", "the desktop's place", "home"],
)
def test_it_is_the_first_place_that_is_named(environ: dict[str, str], expected: str) -> None:
    assert default_state(environ) == Path(expected)
