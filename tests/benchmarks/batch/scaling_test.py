from benchmarks.batch import scaling
from export.batch.inputs import list_locations


def test_tar_files_hold_the_number_of_images(tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "_PER_TAR", 10)
    scaling.write_tars(tmp_path / "tars", 25)
    assert len(list((tmp_path / "tars").iterdir())) == 3
    assert len(list(list_locations(f"{tmp_path}/tars/*.tar"))) == 25
