"""The embedded store, opened for a command."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from remora.failure import Failure, NoMesh
from remora.state import State

if TYPE_CHECKING:
    from collectors.store.reader import Reader


@contextmanager
def opened(directory: Path) -> "Iterator[Reader]":
    """A reader of the store in a state directory. Raises NoMesh when no collector has run there."""
    from collectors.store.errors import StoreError, StoreMissing
    from collectors.store.reader import Reader

    state = State(directory)
    try:
        reader = Reader.open(state.telemetry)
    except StoreMissing:
        raise NoMesh(f"nothing has been collected in {directory} yet: start a mesh with `remora up`") from None
    except StoreError as error:
        raise Failure(str(error)) from error
    try:
        yield reader
    except StoreError as error:
        raise Failure(str(error)) from error
    finally:
        reader.close()
