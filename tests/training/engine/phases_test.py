import dataclasses
import itertools

import pytest

from training.config import TrainConfig
from training.engine import phases

# 100 images at 10 a step: 10 steps an epoch, 60 in all.
RUN = TrainConfig(batch_size=10, epochs=6, image_size=224)


def plan(**changes):
    found = phases.plan_phases(dataclasses.replace(RUN, **changes), 100)
    return [(p.first_step, p.last_step, p.image_size, p.frozen) for p in found]


def test_plain_run_is_one_phase():
    assert plan() == [(0, 60, 224, None)]


def test_sizes_share_the_steps_evenly():
    assert plan(progressive_sizes="128, 160,224") == [
        (0, 20, 128, None),
        (20, 40, 160, None),
        (40, 60, 224, None),
    ]


def test_head_is_trained_alone_then_with_the_last_stages():
    expected = [(0, 15, 224, "top"), (15, 60, 224, 4)]
    assert plan(head_only_epochs=1.5, unfreeze_from_stage=5) == expected


def test_stages_and_sizes_change_independently():
    assert plan(head_only_epochs=3.5, progressive_sizes="128,224") == [
        (0, 30, 128, "top"),
        (30, 35, 224, "top"),
        (35, 60, 224, None),
    ]


def test_head_may_be_trained_for_the_entire_run():
    assert plan(head_only_epochs=9) == [(0, 60, 224, "top")]


@pytest.mark.parametrize("batch_size", [7, 100, 1000])
def test_phases_leave_no_gap(batch_size):
    run = dataclasses.replace(
        RUN,
        batch_size=batch_size,
        progressive_sizes="64,96,128,160",
        head_only_epochs=0.7,
    )
    found = phases.plan_phases(run, 100)
    assert found[0].first_step == 0
    assert found[-1].last_step == run.total_steps(100)
    assert all(a.last_step == b.first_step for a, b in itertools.pairwise(found))
    assert all(p.first_step < p.last_step for p in found)


@pytest.mark.parametrize(
    ("frozen", "words"),
    [
        (None, "all weights"),
        (0, "all but the stem"),
        (6, "stages from 7"),
        (7, "the head"),
        ("top", "the classifier"),
    ],
)
def test_phases_are_described_in_words(frozen, words):
    phase = phases.Phase(0, 1, 128, frozen)
    assert phase.describe() == f"{words}, 128 pixels"
