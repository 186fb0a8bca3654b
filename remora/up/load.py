"""A gentle load: people who look at the page, some of them signed in, some by the API.

`python -m remora.up.load --url http://127.0.0.1:8080 --rate 1.5`
"""

import argparse
import http.client
import os
import random
import select
import time
from collections.abc import Sequence
from urllib.parse import urlencode, urlsplit

from mesh.clock import system_rng

VISITS: tuple[tuple[int, str | None, str], ...] = (
    (6, None, "/productpage"),
    (2, "jason", "/productpage"),
    (1, "remy", "/productpage"),
    (1, None, "/api/v1/products/0"),
    (1, None, "/api/v1/products/0/reviews"),
    (1, None, "/api/v1/products/0/ratings"),
)
"""(how often, who, what)."""

TIMEOUT_S = 10.0


class Visitors:
    """Remembers who is signed in."""

    def __init__(self, url: str, rng: random.Random) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._rng = rng
        self._cookies: dict[str, str] = {}

    def visit(self) -> int:
        """One request (two for one who signs in first); returns the last status, 0 where there was no answer."""
        _, user, path = self._rng.choices(VISITS, weights=[visit[0] for visit in VISITS])[0]
        try:
            if user is not None and user not in self._cookies:
                self._sign_in(user)
            headers = {"cookie": self._cookies[user]} if user in self._cookies else {}
            status, _ = self._request("GET", path, headers)
        except (OSError, http.client.HTTPException):
            return 0
        return status

    def _sign_in(self, user: str) -> None:
        form = {"content-type": "application/x-www-form-urlencoded"}
        _, cookie = self._request("POST", "/login", form, urlencode({"username": user}))
        if cookie:
            self._cookies[user] = cookie.split(";")[0]

    def _request(
        self, method: str, path: str, headers: dict[str, str], body: str | None = None
    ) -> tuple[int, str | None]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, body, {"user-agent": "remora-load/1", **headers})
            response = connection.getresponse()
            response.read()
            return response.status, response.getheader("set-cookie")
        finally:
            connection.close()


def main(argv: Sequence[str] | None = None) -> None:
    """Visit until SIGTERM or the lifeline's end."""
    parser = argparse.ArgumentParser(prog="python -m remora.up.load", description=__doc__)
    parser.add_argument("--url", required=True, help="where the ingress gateway listens")
    parser.add_argument("--rate", type=float, default=1.5, help="visits per second, on average")
    parser.add_argument("--ready-fd", type=int, help="descriptor that gets a line once the load runs")
    parser.add_argument("--lifeline-fd", type=int, help="read end of a pipe; the load stops when it closes")
    options = parser.parse_args(argv)
    rng = system_rng()
    visitors = Visitors(options.url, rng)
    if options.ready_fd is not None:
        os.write(options.ready_fd, b"{}\n")
        os.close(options.ready_fd)
    lifeline = [options.lifeline_fd] if options.lifeline_fd is not None else []
    next_visit = time.monotonic()
    while True:
        visitors.visit()
        # Poisson arrivals, as people are; never more than one behind, so that a pause is not made up for by a burst.
        next_visit = max(next_visit + rng.expovariate(options.rate), time.monotonic())
        if select.select(lifeline, [], [], max(0.0, next_visit - time.monotonic()))[0]:
            return


if __name__ == "__main__":
    main()
