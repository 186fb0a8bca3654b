"""The reviews service, in three versions: without stars (v1), with black ones (v2), with red ones (v3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from remora.samples.bookinfo import calls
from remora.samples.bookinfo.headers import pass_on

_UNAVAILABLE = {"error": "Ratings service is currently unavailable"}

_REVIEWS = (
    ("Reviewer1", "An extremely entertaining play by Shakespeare. The slapstick humour is refreshing!"),
    (
        "Reviewer2",
        "Absolutely fun and entertaining. The play lacks thematic depth when compared to other plays by Shakespeare.",
    ),
)


@dataclass(frozen=True, slots=True)
class Version:
    """What makes one version differ from another."""

    pod: str
    """Name of the instance, told in every answer."""
    cluster: str = "null"
    stars: bool = False
    color: str = "black"

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> "Version":
        """By the public sample's variables: HOSTNAME, CLUSTER_NAME, ENABLE_RATINGS, STAR_COLOR."""
        return cls(
            pod=environ.get("HOSTNAME", "reviews"),
            cluster=environ.get("CLUSTER_NAME", "null"),
            stars=environ.get("ENABLE_RATINGS", "").lower() == "true",
            color=environ.get("STAR_COLOR", "black"),
        )

    @property
    def patience_s(self) -> float:
        """How long to wait for ratings: the red version is the impatient one."""
        return 10.0 if self.color == "black" else 2.5


_VERSION = web.AppKey("version", Version)


async def _health(_: web.Request) -> web.Response:
    return web.json_response({"status": "Reviews is healthy"})


async def _reviews(request: web.Request) -> web.Response:
    try:
        book = int(request.match_info["id"])
    except ValueError:
        return web.json_response({"error": "please provide numeric product ID"}, status=400)
    version = request.app[_VERSION]
    ratings = await _ratings(request, book, version) if version.stars else None
    return web.json_response(
        {
            "id": str(book),
            "podname": version.pod,
            "clustername": version.cluster,
            "reviews": [
                _review(reviewer, text, ratings.get(reviewer), version.color)
                if ratings is not None
                else {"reviewer": reviewer, "text": text}
                for reviewer, text in _REVIEWS
            ],
        }
    )


async def _ratings(request: web.Request, book: int, version: Version) -> dict[str, Any]:
    """Stars by reviewer; empty when there are none to be had."""
    headers = pass_on(request.headers, "end-user", "user-agent")
    _, answer = await request.app[calls.CALLS].get_json(
        "ratings", f"/ratings/{book}", headers, timeout_s=version.patience_s
    )
    ratings = answer.get("ratings") if isinstance(answer, dict) else None
    return ratings if isinstance(ratings, dict) else {}


def _review(reviewer: str, text: str, stars: object, color: str) -> dict[str, Any]:
    rating = {"stars": stars, "color": color} if isinstance(stars, int) else _UNAVAILABLE
    return {"reviewer": reviewer, "text": text, "rating": rating}


def application(version: Version, proxy: str | None, hosts: Mapping[str, str]) -> web.Application:
    """GET /reviews/ID and /health."""
    app = web.Application()
    app[_VERSION] = version
    calls.attach(app, proxy, hosts)
    app.router.add_get("/health", _health)
    app.router.add_get("/reviews/{id}", _reviews)
    return app
