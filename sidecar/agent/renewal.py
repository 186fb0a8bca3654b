"""When a certificate is renewed and when someone must be told. Pure."""

import random

from sidecar.agent.certificates import Issued

JITTER = 0.1
"""Of the lifetime, to both sides of its half: certificates of one start do not all renew at once."""

ALARM_SHARE = 0.25
"""Less than this share of the lifetime left means that renewal has failed for as long again: the alarm is on."""


def renew_at(issued: Issued, received_at: float, rng: random.Random) -> float:
    """Half of what was left on receipt (authorities date certificates back a little), with jitter; epoch seconds."""
    left_s = issued.not_after - received_at
    return received_at + left_s * (0.5 + JITTER * (2 * rng.random() - 1))


def is_expiring(issued: Issued, now: float) -> bool:
    """Whether the alarm is on."""
    return issued.not_after - now < ALARM_SHARE * (issued.not_after - issued.not_before)


def is_expired(issued: Issued, now: float) -> bool:
    """Whether peers refuse it."""
    return now >= issued.not_after
