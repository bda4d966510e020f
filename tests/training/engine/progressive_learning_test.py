"""Training whose image size, augmentation and dropout change from phase to phase."""

import dataclasses

import numpy as np
import pytest

from tests.support.training_runs.tiny_run import TINY, read_checkpoint, tiny_source
from training.engine import phases, trainer

# Six steps; the second phase starts at step 3, within the second epoch.
GROWING = dataclasses.replace(
    TINY,
    progressive_schedule="paper",
    progressive_sizes="33,45",  # odd, and neither is the size of evaluation
    mixup_alpha=0.4,
    cutmix_alpha=1.0,
    mixing="half_and_half",
    dropout=0.5,
    checkpoint_every_steps=1,
    keep_checkpoints=10,
)


@pytest.fixture(scope="module")
def source():
    return tiny_source()


@pytest.fixture(scope="module")
def straight(tmp_path_factory, source):
    """Folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("straight")
    resume(GROWING, folder, source)
    return folder


def resume(config, workdir, source, stop_at_step=None):
    return trainer.train(
        config,
        workdir,
        source,
        stop_at_step=stop_at_step,
        show=False,
        scores_only=True,
    )


def test_settings_change_in_the_middle_of_the_run():
    first, second = phases.plan_phases(GROWING, 20)
    assert (first.last_step, second.last_step) == (3, 6)
    assert first.strengths == {
        "mixup_alpha": 0.0,
        "cutmix_alpha": 0.0,
        "dropout": 0.1,
    }
    assert second.applied(GROWING) == GROWING


def check_bit_identical(workdir, straight):
    expected, found = read_checkpoint(straight), read_checkpoint(workdir)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        np.testing.assert_array_equal(tensor, found[name], err_msg=name)


@pytest.mark.parametrize(
    "steps", [(4,), pytest.param((2, 4), marks=pytest.mark.slow)], ids=["last", "each"]
)
def test_run_interrupted_in_a_phase_ends_bit_identical(
    tmp_path, source, straight, steps
):
    for step in steps:
        assert resume(GROWING, tmp_path, source, step) is None
    assert resume(GROWING, tmp_path, source)["steps"] == 6
    check_bit_identical(tmp_path, straight)


@pytest.mark.slow
def test_growing_randaugment_ends_bit_identical(tmp_path, source):
    config = dataclasses.replace(GROWING, augment="randaugment")
    first, second = phases.plan_phases(config, 20)
    assert first.strengths["randaugment_magnitude"] == 5.0
    assert second.strengths["randaugment_magnitude"] == 10.0
    resume(config, tmp_path / "straight", source)
    assert resume(config, tmp_path / "halved", source, 3) is None
    resume(config, tmp_path / "halved", source)
    check_bit_identical(tmp_path / "halved", tmp_path / "straight")
