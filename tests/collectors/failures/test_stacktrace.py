"""Exceptions as four languages print them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.failures.stacktrace import MAX_FRAMES, Raised, parse

PYTHON = """Traceback (most recent call last):
  File "/srv/app/shop/main.py", line 10, in handle
    return do(x)
           ~~^^^
  File "/srv/venv/lib/python3.11/site-packages/orm/query.py", line 3, in one
    raise KeyError(x)
KeyError: 'order'
"""
CHAINED = f"""{PYTHON}
During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/app/shop/main.py", line 12, in serve
    handle()
shop.errors.OrderFailed: order 42 failed
"""
JAVA = """2026-01-31 12:00:00 ERROR [main] java.lang.IllegalStateException: no order 5
\tat com.shop.Orders.find(Orders.java:12)
\tat com.shop.Orders$1.run(Orders.java:99)
\tat com.shop.Main$$Lambda$14/0x0000000800066840.apply(Unknown Source)
\t... 3 more
Caused by: java.io.IOException: gone
"""
SCRIPT = """TypeError: Cannot read properties of undefined (reading 'x')
    at handler (/app/src/index.js:10:5)
    at async Layer.handle [as handle_request] (/app/node_modules/express/lib/router/layer.js:95:5)
    at /app/src/other.js:1:2
"""
GO = """panic: runtime error: index out of range [5] with length 3

goroutine 1 [running]:
main.(*Server).handle(0xc000010250, 0x5)
\t/app/main.go:12 +0x1d
main.main.func1()
\t/app/main.go:20 +0x25
exit status 2
"""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        pytest.param(PYTHON, Raised("KeyError", "'order'", ("shop/main.py:handle",)), id="Python, own frames alone"),
        pytest.param(
            CHAINED,
            Raised("shop.errors.OrderFailed", "order 42 failed", ("shop/main.py:serve",)),
            id="Python, the last of a chain",
        ),
        pytest.param(
            JAVA,
            Raised(
                "java.lang.IllegalStateException",
                "no order 5",
                ("com.shop.Orders.find", "com.shop.Orders.run", "com.shop.Main.apply"),
            ),
            id="Java, generated names taken out",
        ),
        pytest.param(
            SCRIPT,
            Raised(
                "TypeError",
                "Cannot read properties of undefined (reading 'x')",
                ("src/index.js:handler", "src/other.js:?"),
            ),
            id="JavaScript",
        ),
        pytest.param(
            GO,
            Raised(
                "panic", "runtime error: index out of range [5] with length 3", ("main.(*Server).handle", "main.main")
            ),
            id="Go",
        ),
    ],
)
def test_type_message_and_frames_are_found(text: str, wanted: Raised) -> None:
    assert parse(text) == wanted
    assert parse(f"a line before\n{text}a line after\n") == wanted


def test_line_numbers_and_places_of_installation_do_not_matter() -> None:
    moved = PYTHON.replace("line 10", "line 99").replace("/srv/app", "/opt/other/app")
    assert parse(moved) == parse(PYTHON)


def test_a_library_alone_keeps_its_frames() -> None:
    found = parse(PYTHON.replace("/srv/app/shop/", "/usr/lib/python3.11/shop/"))
    assert found is not None
    assert found.frames == ("orm/query.py:one", "shop/main.py:handle")


def test_a_deep_recursion_has_few_frames() -> None:
    frames = '  File "/app/a.py", line 1, in f\n    f()\n' * 900
    found = parse(f"Traceback (most recent call last):\n{frames}RecursionError: too deep\n")
    # Beyond the bound of lines the end is not seen: then there is no exception, rather than a wrong one.
    assert found is None
    frames = '  File "/app/a.py", line 1, in f\n    f()\n' * 400
    found = parse(f"Traceback (most recent call last):\n{frames}RecursionError: too deep\n")
    assert found == Raised("RecursionError", "too deep", ("app/a.py:f",) * MAX_FRAMES)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "all is well",
        "Traceback (most recent call last):",
        "Traceback (most recent call last):\nValueError: without frames",
        "meet me\n\tat noon",
        "goroutine 1 [running]:",
    ],
)
def test_what_is_no_exception_is_none(text: str) -> None:
    assert parse(text) is None


@given(st.text(alphabet=st.sampled_from("Traceback (most recent call last):\n\t at.File\"',line0in panic:gorutE{}[]")))
def test_any_text_is_read_or_not_and_never_fails(text: str) -> None:
    found = parse(f"Traceback (most recent call last)\n{text}\n    at {text}\n\tat {text}\ngoroutine {text}")
    assert found is None or len(found.frames) <= MAX_FRAMES


@pytest.mark.parametrize(
    "line",
    ["a." * 40_000, "a" * 80_000, "\tat " + "a." * 40_000 + "(", "panic: " + "(" * 80_000, "A" * 80_000 + "Error"],
    ids=["dots", "a word", "a frame", "brackets", "a name"],
)
def test_a_line_made_to_be_slow_is_not(line: str) -> None:
    import time

    began = time.process_time()
    parse(f"{line}\n\tat {line}\n    at {line}\ngoroutine 1\n{line}\n" * 20)
    assert time.process_time() - began < 1.0
