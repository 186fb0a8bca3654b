"""What can be wrong with a buffer."""


class BufferFault(Exception):
    """The buffer cannot be opened: another process has it, or a newer program made it."""


class Unencodable(Exception):
    """A batch that no frame can hold: values nested too deeply. The same batch will never pass."""
