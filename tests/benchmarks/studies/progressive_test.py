import numpy as np
import pytest

from benchmarks.studies import progressive
from benchmarks.studies.progressive import Result
from training.data import sources
from training.engine import phases


@pytest.fixture
def source():
    part = (np.zeros((50, 2, 2, 3), np.uint8), np.arange(50) % 5)
    return sources.arrays({"train": part, "validation": part}, list("abcde"))


def test_takes_a_random_part_of_the_training_images(source):
    found = progressive.part_of(source, 20, seed=0).split("train")
    other = progressive.part_of(source, 20, seed=1).split("train")
    assert len(found) == len(other) == 20
    assert found.labels.tolist() != other.labels.tolist()
    with pytest.raises(ValueError, match="at most 50, the number of training images"):
        progressive.part_of(source, 51, seed=0)


@pytest.mark.parametrize("method", progressive.METHODS)
def test_methods_end_with_the_same_settings(method):
    run = progressive.run_config(method, epochs=8, seed=0)
    run.validate()
    found = phases.plan_phases(run, 12_000)
    assert len(found) == (1 if method == "constant" else 4)
    assert found[-1].image_size == 32
    last = found[-1].applied(run)
    assert (last.mixup_alpha, last.architecture.dropout) == (0.2, 0.3)


def test_table_compares_with_the_first_method():
    found = {
        "constant": [Result(10.0, 15.0, 0.5), Result(30.0, 45.0, 0.7)],
        "paper": [Result(10.0, 15.0, 0.75), Result(10.0, 15.0, 0.85)],
    }
    rows = progressive.describe(found).splitlines()
    assert "| constant | 20 | 30 | 1.00 | 60.00% | 50.00%, 70.00% |" in rows
    assert "| paper | 10 | 15 | 0.50 | 80.00% | 75.00%, 85.00% |" in rows
