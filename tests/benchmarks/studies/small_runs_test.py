import numpy as np

from benchmarks.studies import small_runs
from training.data import sources


def test_subset_has_the_same_number_of_each_class():
    source = small_runs.subset(sources.digits(), {"train": 100, "test": 10})
    assert np.bincount(source.split("train").labels).tolist() == [10] * 10
    assert len(source.split("test")) == 10
    assert len(source.split("validation")) == 359


def test_table_has_mean_and_deviation_over_the_seeds():
    text = small_runs.accuracy_table({"a": [0.5, 0.6, 0.7], "b": [0.25]})
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    assert rows[2][1:5] == ["a", "60.00%", "10.00", "50.00%, 60.00%, 70.00%"]
    assert rows[3][1:5] == ["b", "25.00%", "0.00", "25.00%"]
