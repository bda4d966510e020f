from training.reporting.run_folder import RunFolder


def test_run_folder_without_a_summary_is_unfinished(tmp_path):
    folder = RunFolder(tmp_path)
    assert folder.read_summary() is None
    folder.write_summary({"final_top1": 0.5})
    assert folder.read_summary() == {"final_top1": 0.5}
