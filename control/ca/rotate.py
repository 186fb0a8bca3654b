"""When the root changes. Pure: the next step follows from the roots, the lifetimes and the time.

The order is SPIRE's: the next root is trusted everywhere (`INTRODUCE`) before it signs anything (`PROMOTE`), and the
old one stays trusted until all that it signed has expired (`RETIRE`).
"""

from datetime import timedelta
from enum import Enum

from control.ca.root import RootFiles, Roots, introduced, promoted, retired
from control.ca.template import Lifetimes, instant

INTRODUCE_AT = 2 / 3
"""Share of a root's life after which the next one is made."""


class Step(Enum):
    """What is due."""

    NOTHING = "nothing"
    INTRODUCE = "introduce"
    PROMOTE = "promote"
    RETIRE = "retire"


def due(roots: Roots, *, now: float, lifetimes: Lifetimes) -> Step:
    """The step to take now. An overlap is twice a leaf's life: who is away longer needs a new certificate anyway."""
    moment = instant(now)
    overlap = timedelta(seconds=2 * lifetimes.leaf_s)
    signer = roots.signer.certificate
    if roots.next is not None:
        introduced = roots.next.certificate.not_valid_before_utc + timedelta(seconds=lifetimes.backdate_s)
        return Step.PROMOTE if moment >= introduced + overlap else Step.NOTHING
    if len(roots.trusted) > 1:
        # The signer was introduced, then waited one overlap before it signed; what the old one signed last is gone
        # another overlap later.
        introduced = signer.not_valid_before_utc + timedelta(seconds=lifetimes.backdate_s)
        return Step.RETIRE if moment >= introduced + 2 * overlap else Step.NOTHING
    life = signer.not_valid_after_utc - signer.not_valid_before_utc
    if moment >= signer.not_valid_before_utc + life * INTRODUCE_AT:
        return Step.INTRODUCE
    return Step.NOTHING


def take(step: Step, files: RootFiles, roots: Roots, trust_domain: str, *, now: float, lifetimes: Lifetimes) -> Roots:
    """The roots after `step`. Raises OSError; then they are as they were."""
    match step:
        case Step.NOTHING:
            return roots
        case Step.INTRODUCE:
            return files.introduce(roots, trust_domain, now=now, lifetimes=lifetimes)
        case Step.PROMOTE:
            return files.promote(roots)
        case Step.RETIRE:
            return files.retire(roots)


def after(step: Step, roots: Roots, trust_domain: str, *, now: float, lifetimes: Lifetimes) -> Roots:
    """As `take`, for roots that are kept elsewhere: whoever calls stores them, all at once."""
    match step:
        case Step.NOTHING:
            return roots
        case Step.INTRODUCE:
            return introduced(roots, trust_domain, now=now, lifetimes=lifetimes)
        case Step.PROMOTE:
            return promoted(roots)
        case Step.RETIRE:
            return retired(roots)
