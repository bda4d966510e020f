from training.reporting.run_folder import RunFolder


def test_run_folder_without_a_summary_is_unfinished(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.read_summary() is None
    folder.write_summary({"steps": 3})
    assert folder.read_summary() == {"steps": 3}
