"""The processor `tail_sampling`: whole traces are kept or dropped, once it is known what became of them."""

from collectors.processors.tail_sampling.settings import Settings
from collectors.processors.tail_sampling.stage import TailSampling, build

__all__ = ["Settings", "TailSampling", "build"]
