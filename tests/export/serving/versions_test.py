from export.serving.versions import find_saved_model


def add_model(folder):
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").touch()
    return folder


def test_finds_a_saved_model_without_versions(tmp_path):
    add_model(tmp_path / "model")
    assert find_saved_model(tmp_path / "model") == tmp_path / "model"


def test_finds_the_newest_version(tmp_path):
    for version in ("2", "10"):
        newest = add_model(tmp_path / version)
    (tmp_path / "11").mkdir()  # incomplete
    add_model(tmp_path / "backup")
    assert find_saved_model(tmp_path) == newest


def test_finds_nothing_in_other_folders_and_files(tmp_path):
    (tmp_path / "file").touch()
    assert find_saved_model(tmp_path) is None
    assert find_saved_model(tmp_path / "file") is None
    assert find_saved_model(tmp_path / "missing") is None
