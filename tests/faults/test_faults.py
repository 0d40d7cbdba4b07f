import random

from tests.faults.faults import KINDS, plan


def test_the_seed_says_it_all() -> None:
    assert plan(random.Random(1), 600, 6) == plan(random.Random(1), 600, 6)
    assert plan(random.Random(1), 600, 6) != plan(random.Random(2), 600, 6)


def test_a_minute_has_every_kind_and_ten_minutes_have_a_hundred() -> None:
    for seed in range(20):
        assert {fault.kind for fault in plan(random.Random(seed), 60, 6)} == set(KINDS)
        faults = plan(random.Random(seed), 600, 6)
        assert len(faults) > 100
        assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
        assert all(fault.at < 600 for fault in faults)


def test_a_zombie_sleeps_for_longer_than_its_session() -> None:
    frozen = [f for f in plan(random.Random(3), 600, 6) if f.kind == "freeze a worker"]
    assert len(frozen) >= 10
    assert min(fault.lasts for fault in frozen) > 6
