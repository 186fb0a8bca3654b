"""`receivers.scrape`: jobs of targets, as Prometheus' scrape_configs have them."""

import logging
import ssl
from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field, model_validator

from collectors.identity import CONTROL_NAME
from collectors.pipeline import Consumer
from collectors.processors.relabel_settings import RelabelRule
from collectors.processors.relabeling import LABEL_NAME, Rule, relabel
from collectors.receivers.exposition import MAX_SERIES
from collectors.receivers.scrape import Job, Scraper
from collectors.receivers.scrape_fetch import Access
from collectors.receivers.targets import Target, split_address
from collectors.settings.context import Context
from collectors.settings.types import AnyPath, Duration, Model, ReadableFile, SecretFile, wrong
from collectors.tls import mesh_trust
from mesh.lifecycle import TaskScope

_log = logging.getLogger("remora.scrape")

_PATH, _SCHEME, _ADDRESS = "__metrics_path__", "__scheme__", "__address__"


class JobSettings(Model):
    """One entry of `jobs`."""

    name: str = Field(min_length=1, max_length=200)
    """The label `job`, of targets that have none."""
    mesh: bool = False
    """The workloads of the mesh, as the control plane lists them in STATE/targets.json."""
    files: tuple[AnyPath, ...] = Field(default=(), max_length=100)
    """In Prometheus' file_sd format (JSON); read again when they change."""
    static: tuple[str, ...] = Field(default=(), max_length=2_000)
    """HOST:PORT."""
    interval: Duration | None = Field(default=None, ge=0.1, le=3600)
    """Of this job. Default: that of the receiver."""
    timeout: Duration | None = Field(default=None, ge=0.1, le=3600)
    """Of this job. Default: that of the receiver."""
    scheme: Literal["http", "https"] = "http"
    """Of targets whose file does not say."""
    path: str = Field(default="/metrics", pattern=r"^/[!-~]*$", max_length=2_000)
    """Of targets whose file says neither."""
    ca_file: ReadableFile | None = None
    """Authorities that may sign targets' certificates, PEM. Default: those that the system trusts."""
    bearer_token_file: SecretFile | None = None
    """Read for each scrape."""
    keep: tuple[str, ...] = Field(default=(), max_length=1_000)
    """Beginnings of the names to take, e.g. `istio_`. Default: all."""
    max_series: int = Field(default=MAX_SERIES, ge=1, le=1_000_000)
    """Of one target; further ones are left out and counted."""
    labels: dict[str, str] = Field(default={}, max_length=64)
    """Added to targets that have none of the name."""
    relabel: tuple[RelabelRule, ...] = Field(default=(), max_length=1_000)
    """Prometheus' relabel_configs: over targets, before they are scraped. For metric_relabel_configs there is the
    processor `relabel`."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if not (self.mesh or self.files or self.static):
            raise wrong("has no targets; write mesh: true, files or static")
        for address in self.static:
            try:
                split_address(address)
            except ValueError as error:
                raise wrong(f"has a static target that is wrong: {error}") from error
        for name in self.labels:
            if not LABEL_NAME.fullmatch(name) or name.startswith("__"):
                raise wrong(f"has the label {name[:100]!r}, which is no label name")
        return self


class Settings(Model):
    """`receivers.scrape`."""

    interval: Duration = Field(default=15.0, ge=0.1, le=3600)
    """Between scrapes of a target."""
    timeout: Duration = Field(default=10.0, ge=0.1, le=3600)
    """Where it is longer than the interval, the interval counts."""
    jobs: tuple[JobSettings, ...] = Field(min_length=1, max_length=200)
    """Groups of targets; names are unique."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [job.name for job in self.jobs]
        for name in names:
            if names.count(name) > 1:
                raise wrong(f"has two jobs of the name {name[:100]!r}; series would get into each other's way")
        return self


class ScrapeReceiver:
    """The receiver (settings.registry.Receiver)."""

    def __init__(self, settings: Settings, context: Context, consumer: Consumer) -> None:
        self._scope = TaskScope()
        self._scrapers = {
            job.name: Scraper(_job(job, settings, context), consumer, context.telemetry, context.clock, context.rng)
            for job in settings.jobs
        }

    async def start(self) -> dict[str, str]:
        """See settings.registry.Receiver. There is no address."""
        for name, scraper in self._scrapers.items():
            self._scope.spawn(scraper.run(), name=f"scrape {name}")
        return {}

    async def wait_failed(self) -> None:
        """Return never, raise what ended a scraper."""
        await self._scope.wait_failed()

    async def close(self) -> None:
        """See settings.registry.Receiver. The last samples mark the ends of series."""
        await self._scope.close()


def build(settings: Settings, context: Context, consumer: Consumer) -> ScrapeReceiver:
    """See settings.registry."""
    receiver = ScrapeReceiver(settings, context, consumer)
    context.watch(receiver)
    return receiver


def _job(job: JobSettings, settings: Settings, context: Context) -> Job:
    interval_s = job.interval or settings.interval
    files = (*job.files, context.state / "targets.json") if job.mesh else job.files
    return Job(
        files=files,
        static=tuple(Target(address, job.path, (), job.scheme) for address in job.static),
        interval_s=interval_s,
        timeout_s=min(job.timeout or settings.timeout, interval_s),
        wanted=job.keep,
        max_series=job.max_series,
        labels=tuple(sorted({"job": job.name, **job.labels}.items())),
        access=Access(
            context=_context(job, context),
            server_name=CONTROL_NAME if _is_the_mesh(job, context) else None,
            token=None if job.bearer_token_file is None else job.bearer_token_file.read,
        ),
        relabel=_relabeller(tuple(each.rule() for each in job.relabel)),
    )


def _is_the_mesh(job: JobSettings, context: Context) -> bool:
    """Whether its targets of scheme https are the control planes of our mesh, and nothing else."""
    others = job.files or job.static or job.ca_file is not None
    return job.mesh and not others and context.credentials is not None


def _context(job: JobSettings, around: Context) -> Callable[[], ssl.SSLContext] | None:
    credentials = around.credentials
    if _is_the_mesh(job, around) and credentials is not None:
        return lambda: mesh_trust(credentials())
    if job.ca_file is None:
        return None
    path = str(job.ca_file)
    return lambda: ssl.create_default_context(cafile=path)


def _relabeller(rules: tuple[Rule, ...]) -> Callable[[Target], Target | None]:
    def apply(target: Target) -> Target | None:
        if not rules:
            return target
        labels = {_ADDRESS: target.address, _PATH: target.path, _SCHEME: target.scheme}
        found = relabel({**dict(target.meta), **dict(target.labels), **labels}, rules)
        if found is None:
            return None
        address, scheme = found.get(_ADDRESS, ""), found.get(_SCHEME, "http")
        try:
            split_address(address)
        except ValueError as error:
            _log.error("a target is left out after relabelling: %s", error)
            return None
        if scheme not in ("http", "https"):
            _log.error("target %s is left out after relabelling: scheme %r", address, scheme[:20])
            return None
        kept = tuple(sorted((name, value) for name, value in found.items() if not name.startswith("__")))
        return Target(address, found.get(_PATH, "/metrics"), kept, scheme)

    return apply
