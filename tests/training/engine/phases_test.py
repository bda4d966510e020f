import dataclasses
import itertools

import pytest

from training.config import TrainConfig, progressive
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


GROWING = dataclasses.replace(
    RUN,
    epochs=350,
    image_size=300,
    augment="randaugment",
    randaugment_magnitude=10.0,
    mixup_alpha=0.2,
    dropout=0.4,
    progressive_schedule="automl",
)


def test_schedule_of_the_code_changes_at_whole_epochs():
    # Source: google/automl, efficientnetv2/main.py: int(k / 4 * 350).
    found = phases.plan_phases(GROWING, 100)
    assert [p.first_step for p in found] == [0, 870, 1750, 2620]
    assert [p.image_size for p in found] == [171, 214, 257, 300]
    assert [p.strengths["randaugment_magnitude"] for p in found] == pytest.approx(
        [5, 20 / 3, 25 / 3, 10]
    )
    assert [p.strengths["mixup_alpha"] for p in found] == pytest.approx(
        [0, 0.2 / 3, 0.4 / 3, 0.2]
    )
    assert all(set(p.strengths) < {*progressive.GROWING} - {"dropout"} for p in found)


def test_schedule_of_the_paper_raises_dropout_too():
    paper = dataclasses.replace(GROWING, progressive_schedule="paper")
    found = phases.plan_phases(paper, 100)
    assert [p.first_step for p in found] == [0, 875, 1750, 2625]
    assert [p.image_size for p in found] == [128, 185, 242, 300]
    rates = [p.applied(paper).architecture.dropout for p in found]
    assert rates == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert found[1].describe() == (
        "all weights, 185 pixels, RandAugment 6.67, MixUp 0.0667, dropout 0.2"
    )


def test_settings_that_are_off_stay_off():
    paper = dataclasses.replace(
        GROWING,
        progressive_schedule="paper",
        augment="autoaugment",
        mixup_alpha=0.0,
        dropout=0.0,
    )
    assert all(not p.strengths for p in phases.plan_phases(paper, 100))


@pytest.mark.parametrize("schedule", progressive.SCHEDULES)
def test_listed_sizes_replace_those_of_the_schedule(schedule):
    short = dataclasses.replace(
        GROWING, epochs=2, progressive_schedule=schedule, progressive_sizes="33,45,64"
    )
    found = phases.plan_phases(short, 100)  # fewer epochs than phases
    starts = [(p.first_step, p.image_size) for p in found]
    assert starts == [(0, 33), (6, 45), (13, 64)]
    assert found[-1].applied(short) == short


def test_settings_grow_while_the_head_is_trained_alone():
    run = dataclasses.replace(GROWING, epochs=4, head_only_epochs=1.5)
    found = phases.plan_phases(run, 100)
    assert [(p.first_step, p.image_size, p.frozen) for p in found] == [
        (0, 171, "top"),
        (10, 214, "top"),
        (15, 214, None),
        (20, 257, None),
        (30, 300, None),
    ]


def test_least_number_of_steps_adds_epochs():
    run = dataclasses.replace(RUN, min_steps=85)
    assert run.total_steps(100) == 85
    ends = phases.epoch_ends(run, 100)
    assert list(ends.items())[-2:] == [(80, 8.0), (85, 8.5)]
    assert dataclasses.replace(RUN, min_steps=5).total_steps(100) == 60
