"""`receivers.scrape` of a settings file."""

import json
import random
import re
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from collectors.receivers.claims import Claims
from collectors.receivers.members import Members
from collectors.receivers.scrape_settings import Settings, build
from collectors.settings.context import Context
from collectors.settings.types import DIRECTORY
from collectors.telemetry import Telemetry
from tests.collectors.build import FakeClock
from tests.collectors.fakes import Sink
from tests.collectors.receivers.test_scrape import Eventually, Web


def parsed(tmp_path: Path, **settings: Any) -> Settings:
    return Settings.model_validate(settings, context={DIRECTORY: tmp_path})


def make_context(state: Path) -> Context:
    telemetry, clock = Telemetry(), FakeClock()
    claims = Claims(Members, telemetry, clock)
    return Context(clock, random.Random(1), telemetry, state, claims, None, AsyncExitStack())


async def test_jobs_scrape_the_meshs_targets_those_of_files_and_static_ones(
    tmp_path: Path, eventually: Eventually
) -> None:
    async with Web() as web:
        web.show("# TYPE app_total counter\napp_total 5\nistio_x 1\n")
        (tmp_path / "targets.json").write_text(json.dumps([{"targets": [web.address], "labels": {"workload": "a-v1"}}]))
        (tmp_path / "own.json").write_text(
            json.dumps([{"targets": ["nowhere:1"], "labels": {"__meta_at": web.address, "job": "theirs"}}])
        )
        rules = [{"source_labels": ["__meta_at"], "target_label": "__address__"}]
        jobs = [
            {"name": "mesh", "mesh": True, "keep": ["istio_"]},
            {"name": "own", "files": ["own.json"], "relabel": rules, "path": "/m"},
            {"name": "static", "static": [web.address], "labels": {"zone": "b"}, "interval": "200ms"},
        ]
        sink = Sink()
        receiver = build(parsed(tmp_path, interval="100ms", jobs=jobs), make_context(tmp_path), sink)
        assert await receiver.start() == {}

        def series() -> set[tuple[str, str]]:
            return {
                (sample.name, dict(sample.labels)["job"])
                for batch in sink.batches
                for sample in batch.samples
                if not sample.name.startswith("scrape_")
            }

        everything = {(name, job) for name in ("app_total", "istio_x", "up") for job in ("theirs", "static")}
        await eventually(lambda: series() == {("istio_x", "mesh"), ("up", "mesh")} | everything, "all were scraped")
        static = [
            sample for batch in sink.batches for sample in batch.samples if dict(sample.labels).get("zone") == "b"
        ]
        assert dict(static[0].labels)["instance"] == web.address
        await receiver.close()
        assert {sample.value for sample in sink.batches[-1].samples} == {None}, "series end with the collector"


async def test_a_token_is_shown_and_its_file_read_each_time(tmp_path: Path, eventually: Eventually) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    token.chmod(0o600)
    async with Web() as web:
        web.show("x 1\n")
        job = {"name": "a", "static": [web.address], "bearer_token_file": "token", "interval": "100ms"}
        receiver = build(parsed(tmp_path, jobs=[job]), make_context(tmp_path), Sink())
        await receiver.start()
        await eventually(
            lambda: any(b"authorization: Bearer first" in each for each in web.asked), "the token is shown"
        )
        token.write_text("second\n")
        await eventually(lambda: any(b"Bearer second" in each for each in web.asked), "and the one in its place")
        await receiver.close()


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({}, "has no targets"),
        ({"static": ["nowhere"]}, "is not host:port"),
        ({"static": ["a:1"], "scheme": "ftp"}, "'http' or 'https'"),
        ({"static": ["a:1"], "interval": 5}, "is no duration"),
        ({"static": ["a:1"], "labels": {"a-b": "c"}}, "is no label name"),
        ({"static": ["a:1"], "path": "metrics"}, "match pattern"),
        ({"static": ["a:1"], "path": "/a b\r\nx: y"}, "match pattern"),
        ({"static": ["a:1"], "metric_relabel": []}, "Extra inputs"),
        ({"static": ["a:1"], "bearer_token_file": "missing"}, "cannot be read"),
        ({"static": ["a:1"], "relabel": [{"action": "hashmod"}]}, "needs a target_label"),
    ],
)
def test_a_job_that_cannot_be_meant_is_refused(job: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)):
        parsed(tmp_path, jobs=[{"name": "a", **job}])


def test_two_jobs_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="two jobs of the name 'a'"):
        parsed(tmp_path, jobs=[{"name": "a", "static": ["a:1"]}, {"name": "a", "static": ["b:1"]}])
