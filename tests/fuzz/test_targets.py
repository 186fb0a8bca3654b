"""The fuzz targets hold for their own seeds, cut anywhere and changed a little: a search begins from what is right."""

import random

import pytest

from tests.fuzz.targets import SEEDS, TARGETS

CASES = [(name, number) for name, seeds in SEEDS.items() for number in range(len(seeds))]


@pytest.mark.parametrize(("name", "number"), CASES, ids=[f"{name} {number}" for name, number in CASES])
def test_a_target_holds_for_its_seed_and_what_is_near_it(name: str, number: int) -> None:
    seed, target = SEEDS[name][number], TARGETS[name]
    rng = random.Random(number)
    target(seed)
    for at in range(len(seed)):
        target(seed[:at])
        changed = bytearray(seed)
        changed[at] = rng.randrange(256)
        target(bytes(changed))


def test_each_target_has_seeds() -> None:
    assert SEEDS.keys() == TARGETS.keys()
