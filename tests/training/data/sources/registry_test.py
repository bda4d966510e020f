import pytest

from training.data import sources


@pytest.mark.parametrize("name", ["/data/photos", "./photos", "photos/cats"])
def test_paths_are_answered_with_the_folder_source(name):
    with pytest.raises(ValueError, match=f"Did you mean 'folder:{name}'"):
        sources.load(name)


def test_existing_folders_are_recognized_by_name(tmp_path, monkeypatch):
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="Did you mean 'folder:photos'"):
        sources.load("photos")


def test_misspelt_sources_get_the_nearest():
    with pytest.raises(ValueError, match="Did you mean 'digits'"):
        sources.load("digit")
