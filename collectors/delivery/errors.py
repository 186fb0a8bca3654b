"""What can be wrong with a buffer."""


class BufferFault(Exception):
    """The buffer cannot be opened: another process has it, a newer program made it, or the directory
    into which it spilled is not there."""


class Unencodable(Exception):
    """A batch that no frame can hold: values nested too deeply. The same batch will never pass."""
