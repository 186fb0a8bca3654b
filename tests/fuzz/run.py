"""Let atheris search one target, or repeat an input: `python -m tests.fuzz.run TARGET CORPUS|FILE [OPTION...]`."""

import sys

import atheris

with atheris.instrument_imports(include=["sidecar.http", "collectors.receivers.forward_parser", "tests.fuzz.targets"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Ends the process: 0 when the time is over, another status when a promise was broken."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
