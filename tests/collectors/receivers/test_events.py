"""What an access record's severity is: the console colours by it, and `remora logs --severity` selects by it."""

from typing import Any

import pytest

from collectors.receivers.events import access_severity


@pytest.mark.parametrize(
    ("body", "severity"),
    [
        pytest.param({"protocol": "HTTP/1.1", "response_code": 200}, "info", id="an answer"),
        pytest.param({"protocol": "HTTP/1.1", "response_code": 404}, "warning", id="the client's mistake"),
        pytest.param({"protocol": "HTTP/2", "response_code": 0}, "warning", id="a client that left before any answer"),
        pytest.param({"protocol": "HTTP/2", "response_code": 503}, "error", id="a server's failure"),
        pytest.param({"protocol": "HTTP/1.1"}, "error", id="no status at all"),
        pytest.param({"protocol": "TCP", "response_code": 0, "response_flags": "-"}, "info", id="a connection"),
        pytest.param({"protocol": "TCP", "response_code": 0, "response_flags": "UF"}, "warning", id="one that failed"),
    ],
)
def test_severity_follows_from_what_became_of_it(body: dict[str, Any], severity: str) -> None:
    assert access_severity(body) == severity
