import numpy as np

from training.reporting.run_folder import RunFolder, balanced


def test_balanced_takes_classes_in_turn():
    labels = np.array([0, 0, 0, 0, 1, 2, 1])
    assert balanced(labels, 4) == [0, 1, 4, 5]
    assert balanced(labels, 100) == list(range(7))
    assert balanced(labels, 0) == []


def test_run_folder_without_a_summary_is_unfinished(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.read_summary() is None
    folder.write_summary({"steps": 3})
    assert folder.read_summary() == {"steps": 3}
