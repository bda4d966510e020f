import dataclasses

import pytest

from keras_efficientnet import STAGES, EfficientNet, Scaling, profile, read_stages
from research import base_network, costs, grid
from research.execution import trials

OPTIONS = grid.GridOptions(data="digits", grid_step=0.2, tolerance=0.2, processes=1)


def pretend(trial, folder):
    """Makes only depth increase accuracy, so the deepest network must win."""
    depth = trial.config.depth
    return {"top1": 0.5, "validation_top1": 0.3 + 0.2 * depth, "seconds": 1.0}


@pytest.fixture
def made(monkeypatch):
    seen = []

    def make(jobs, root, **options):
        seen.extend(jobs)
        return run_trials(jobs, root, **options, make=pretend, show=False)

    run_trials = trials.run_trials
    monkeypatch.setattr(trials, "run_trials", make)
    return seen


def test_grid_contains_the_coefficients_of_the_paper():
    """Source: arXiv:1905.11946, section 4, step 1."""
    found = grid.triples(0.05, 0.1)
    assert (1.2, 1.1, 1.15) in found
    assert all(min(triple) >= 1 for triple in found)
    assert all(1.9 <= a * b**2 * g**2 <= 2.1 for a, b, g in found)
    assert {(2.0, 1.0, 1.0), (1.0, 1.4, 1.0), (1.0, 1.0, 1.4)} <= set(found)


def test_grid_is_complete():
    """By hand: with steps of 0.5, only these products are within 0.3 of 2."""
    assert grid.triples(0.5, 0.3) == [(1.0, 1.0, 1.5), (1.0, 1.5, 1.0), (2.0, 1.0, 1.0)]


def test_chooses_the_best_triple_and_prints_its_family(made, tmp_path, capsys):
    grid.run(OPTIONS, tmp_path)
    found = grid.triples(0.2, 0.2)
    assert 1 < len(made) < len(found)  # equal networks are trained once
    rows = (tmp_path / "results.csv").read_text().splitlines()
    assert len(rows) == 1 + len(found)
    deepest = max(alpha for alpha, _, _ in found)
    report = (tmp_path / "report.md").read_text()
    assert f"The best: alpha {deepest:g}, beta 1, gamma 1," in report
    assert read_stages(tmp_path / "stages.json") == base_network.SMALL
    assert capsys.readouterr().out.count("phi ") == 7


def test_ranks_by_latency(made, tmp_path, monkeypatch):
    """Makes latency depend on pixels alone, so that resolution is expensive."""
    monkeypatch.setattr(
        costs, "tflite_latency", lambda variant, classes: variant.resolution**2 / 1000
    )
    options = dataclasses.replace(OPTIONS, cost="latency", weight=-10.0)
    grid.run(options, tmp_path)
    report = (tmp_path / "report.md").read_text()
    best = report.split("The best: ")[1].split("\n")[0]
    assert "gamma 1, with 1.00 times the base's ms per image" in best
    assert "| ms |" in report
    assert "| 0.256 |" in report  # 16 pixels at every phi, because gamma is 1


def test_calls_of_the_family_build_networks_of_the_stated_cost(tmp_path, monkeypatch):
    config = base_network.base_config(OPTIONS)
    members = grid.family(
        config, grid.GridRow(1.2, 1.1, 1.15, 18, 0, 2, 0.5, 0.5, 1), "flops"
    )
    assert [member["phi"] for member in members] == [1, 2, 3, 4, 5, 6, 7]
    (tmp_path / "stages.json").write_text(config.stages)
    monkeypatch.chdir(tmp_path)
    names = {"EfficientNet": EfficientNet, "read_stages": read_stages}
    model = eval(members[1]["call"].strip("`"), names)
    assert f"{profile(model).multiply_adds / 1e6:.2f}" == members[1]["multiply-adds, M"]
    assert model.input_shape[1] == members[1]["pixels"] == round(16 * 1.15**2)


def test_family_of_b0_needs_no_stage_table():
    options = dataclasses.replace(OPTIONS, recipe="imagenet:b0")
    config = base_network.base_config(options)
    assert config.stage_table == STAGES
    deep = grid.family(
        config, grid.GridRow(2.5, 1.0, 1.0, 224, 0, 2, 0.5, 0.5, 1), "flops"
    )
    assert (
        deep[0]["call"]
        == "`EfficientNet(width=1, depth=2.5, resolution=224, classes=10)`"
    )
    assert deep[-1]["call"] == "more than 702 blocks in a stage"


def test_scales_relative_to_the_base():
    config = dataclasses.replace(
        base_network.base_config(OPTIONS), width=0.5, depth=2.0
    )
    scaled = base_network.scaled_config(config, Scaling(1.5, 2.0, 1.25), seed=0)
    assert (scaled.depth, scaled.width, scaled.image_size) == (3.0, 1.0, 20)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"grid_step": 0.0}, "`grid_step` must be above 0"),
        ({"tolerance": -0.1}, "`tolerance` must be at least 0"),
        ({"grid_step": 0.9, "tolerance": 0.0}, "must leave at least one triple"),
        ({"cost": "flop"}, "Did you mean 'flops'"),
    ],
)
def test_rejects_invalid_options(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        grid.run(dataclasses.replace(OPTIONS, **change), tmp_path / "new")
    assert not (tmp_path / "new").exists()
