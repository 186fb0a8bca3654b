"""The console as a child process, beside a fake control plane and a store that the collectors' own writer filled."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

HERE = Path(__file__).parent
expect.set_options(timeout=20_000)  # the machine may be busy with other tests
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
CHROMIUM_FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


def load(name: str) -> ModuleType:
    """A module beside this one: tests are no package."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(f"console_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


fake_mesh = load("fake_mesh")


def wait_readable(fd: int, within_s: float, what: str) -> None:
    readable, _, _ = select.select([fd], [], [], within_s)
    assert readable, f"not within {within_s} s: {what}"


@dataclass
class Running:
    """A console that serves."""

    process: subprocess.Popen[bytes]
    url: str
    errors: Path
    lifeline: int

    @property
    def base(self) -> str:
        return self.url.partition("/?")[0]

    @property
    def port(self) -> int:
        return int(self.base.rpartition(":")[2])

    @property
    def token(self) -> str:
        return self.url.partition("token=")[2]

    def at(self, path: str) -> str:
        """The address of a page, with the token."""
        return f"{self.base}{path}{'&' if '?' in path else '?'}token={self.token}"

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(10)
        finally:
            self.process.kill()
            if self.lifeline >= 0:
                os.close(self.lifeline)
                self.lifeline = -1


def start_console(state: Path, *flags: str) -> Running:
    """Start the console on a free port and wait until it serves."""
    ready_read, ready_write = os.pipe()
    life_read, life_write = os.pipe()
    errors = state.parent / f"{state.name}-console-{time.monotonic_ns()}.err"
    with errors.open("wb") as error_file:
        process = subprocess.Popen(
            [sys.executable, "-m", "dashboards.console.app", "--state", str(state), "--listen", "127.0.0.1:0",
             "--ready-fd", str(ready_write), "--lifeline-fd", str(life_read), *flags],
            pass_fds=(ready_write, life_read),
            stderr=error_file,
        )  # fmt: skip
    os.close(ready_write)
    os.close(life_read)
    try:
        wait_readable(ready_read, 30, "the console serves")
        with os.fdopen(ready_read) as file:
            line = file.readline()
        assert line, errors.read_text()
        return Running(process, json.loads(line)["url"], errors, life_write)
    except BaseException:
        process.kill()
        process.wait()
        os.close(life_write)
        raise


@dataclass
class FakeControl:
    """The control plane's stand-in, which can be stopped and started."""

    state: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "fake_control.py"), str(self.state)], stdout=subprocess.PIPE
        )
        assert self.process.stdout is not None
        wait_readable(self.process.stdout.fileno(), 30, "the fake control plane serves")
        assert self.process.stdout.readline() == b"ready\n"

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """An empty state directory."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    return folder


@pytest.fixture
def control(state: Path) -> Iterator[FakeControl]:
    """A fake control plane for `state`, running."""
    fake = FakeControl(state)
    fake.start()
    yield fake
    fake.stop()


@pytest.fixture
def console(state: Path) -> Iterator[Callable[..., Running]]:
    """Starts consoles on `state`."""
    started: list[Running] = []

    def start(*flags: str) -> Running:
        started.append(start_console(state, *flags))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.fixture(scope="session")
def bookinfo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A console on a mesh with traffic, for tests that change nothing."""
    folder = tmp_path_factory.mktemp("bookinfo") / "state"
    folder.mkdir(mode=0o700)
    fake_mesh.fill(folder, fake_mesh.busy_minute(time.time()))
    control = FakeControl(folder)
    control.start()
    running = start_console(folder)
    yield running
    running.stop()
    control.stop()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    if not Path(CHROMIUM).exists():
        pytest.skip("Chromium is missing: apt-get install chromium")
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
        yield chromium
        await chromium.close()


@pytest.fixture
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A tab of 1280 by 800. Script errors, refused resources and requests to anywhere else fail the test."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800})
    tab = await context.new_page()
    wrong: list[str] = []
    tab.on("pageerror", lambda error: wrong.append(f"script error: {error}"))
    tab.on("console", lambda message: wrong.append(message.text) if "Content Security" in message.text else None)
    tab.on("dialog", lambda dialog: wrong.append(f"a script opened a dialog: {dialog.message}"))
    tab.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("http://127.0.0.1:", "data:", "blob:"))
            else wrong.append(f"request to {request.url}")
        ),
    )
    tab.set_default_timeout(20_000)
    yield tab
    await context.close()
    assert not wrong, wrong


@pytest.fixture
def mesh() -> ModuleType:
    """Builders of telemetry."""
    return fake_mesh


@pytest.fixture
def make_control(state: Path) -> Iterator[Callable[[], FakeControl]]:
    """Makes a fake control plane for `state` that does not run yet."""
    made: list[FakeControl] = []

    def make() -> FakeControl:
        made.append(FakeControl(state))
        return made[-1]

    yield make
    for one in made:
        one.stop()
