import dataclasses

import keras_efficientnet
from tests.support.training_runs.tiny_run import TINY, tiny_source
from training.reporting import run_folder
from training.reporting.run_folder import RunFolder


def test_run_folder_without_a_summary_is_unfinished(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.read_summary() is None
    folder.write_summary({"final_top1": 0.5})
    assert folder.read_summary() == {"final_top1": 0.5}


def test_environment_states_the_commit_of_the_initial_weights(tmp_path, monkeypatch):
    record = dataclasses.replace(
        keras_efficientnet.weights_info("b0"), family="hf://a/b@main", revision="1f2e"
    )
    monkeypatch.setattr(run_folder, "published", lambda weights, variant: record)
    folder = RunFolder(tmp_path)
    folder.begin(TINY, tiny_source())
    assert "\nweights hf://a/b@1f2e\n" in folder.environment.read_text()
