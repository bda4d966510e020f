import dataclasses

import pytest

from keras_efficientnet import Scaling, profile
from keras_efficientnet.baselines import MobileNetV2
from research import base_network, baselines
from research.execution import trials
from research.reporting import drawing, folder
from research.scaling import comparison, figure, study

OPTIONS = study.ScalingOptions(
    data="digits",
    widths=(2.0,),
    depths=(2.0,),
    resolutions=(1.5,),
    at=("2:1.5",),
    at_widths=(2.0,),
    phis=(1.0,),
    seeds=2,
    processes=1,
)


def pretend(trial, folder):
    """Makes accuracy grow with size, and slightly with the seed."""
    config = trial.config
    size = config.width * config.depth * config.image_size / 16
    top1 = 0.8 + 0.02 * size + 0.002 * config.seed
    return {"top1": top1, "validation_top1": top1, "seconds": 1.0}


@pytest.fixture
def pretended(monkeypatch):
    made = []

    def make(trials_, root, **options):
        made.extend(trials_)
        return run_trials(trials_, root, **options, make=pretend, show=False)

    run_trials = trials.run_trials
    monkeypatch.setattr(trials, "run_trials", make)
    return made


def test_lines_start_at_the_base():
    lines = study.series(OPTIONS)
    assert list(lines) == ["width", "depth", "resolution", "compound", "2:1.5"]
    assert lines["depth"] == [("base", Scaling()), ("d=2", Scaling(depth=2.0))]
    assert lines["compound"][1] == ("phi=1", Scaling(1.2, 1.1, 1.15))
    assert lines["2:1.5"][1] == ("w=2", Scaling(2.0, 2.0, 1.5))


def test_trains_each_network_once_per_seed(pretended, tmp_path):
    study.run(OPTIONS, tmp_path)
    assert len(pretended) == 7 * 2  # the base, four scaled once, two of Figure 4
    rows = folder.ResultsTable(
        tmp_path / "results.csv",
        study.ScalingRow,
        ("width", "depth", "resolution", "seed"),
    ).rows
    assert len(rows) == 14
    # Seeds are the outer loop, so an interrupted study has complete lines.
    assert [row.seed for row in rows] == [0] * 7 + [1] * 7
    wide = next(row for row in rows if (row.width, row.depth) == (2.0, 1.0))
    assert wide.top1 == pytest.approx(0.84)
    report = (tmp_path / "report.md").read_text()
    # Mean of 0.84 and 0.842, deviation of 0.001 * sqrt(2).
    assert "| w=2 |" in report
    # Half of the interval: 12.706 * 0.1414 / sqrt(2).
    assert "| 84.10 | 0.14 | 2 | ± 1.27 |" in report
    assert (tmp_path / "scaling.png").read_bytes()[:4] == b"\x89PNG"


def test_resumes_only_with_the_same_settings(pretended, tmp_path):
    study.run(OPTIONS, tmp_path)
    before = (tmp_path / "results.csv").read_text()
    study.run(dataclasses.replace(OPTIONS, processes=2), tmp_path)
    assert (tmp_path / "results.csv").read_text() == before
    with pytest.raises(ValueError, match="seeds: 2 -> 3"):
        study.run(dataclasses.replace(OPTIONS, seeds=3), tmp_path)


def test_lines_are_optional(pretended, tmp_path):
    alone = dataclasses.replace(OPTIONS, phis=(), at=(), resolutions=(), seeds=1)
    study.run(alone, tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "| w=2 |" in report
    assert "## Compound against" not in report


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depths": (2.0, 999.0)}, "`depth` must give at most 702 blocks"),
        ({"resolutions": (0.1,)}, "`image_size` must be at least"),
    ],
)
def test_rejects_impossible_networks_before_training(
    pretended, tmp_path, change, message
):
    with pytest.raises(ValueError, match=message):
        study.run(dataclasses.replace(OPTIONS, **change), tmp_path)
    assert not (tmp_path / "trials").exists()


def test_figure_4_accepts_any_number_of_lines(pretended, tmp_path):
    at = ("2.0:1.50", *(f"{depth}:1" for depth in range(2, 14)))
    study.run(dataclasses.replace(OPTIONS, at=at, seeds=1), tmp_path)
    assert "## Width at 2:1.5" in (tmp_path / "report.md").read_text()


def test_interpolation_is_linear_in_the_logarithm():
    line = [
        study.Point(str(cost), Scaling(), cost, 1, (top1,))
        for cost, top1 in ((400, 0.9), (100, 0.8))
    ]
    assert comparison.interpolate(line, 200) == pytest.approx(0.85)
    assert comparison.interpolate(line, 100) == pytest.approx(0.8)
    assert comparison.interpolate(line, 401) is None


def test_pairs_the_seeds_with_the_network_of_the_nearest_cost():
    """By hand: differences 2, 4 and 6 points; 4.3027 * 2 / sqrt(3) = 4.97."""
    base = study.Point("base", Scaling(), 100, 1, (0.5, 0.5, 0.5))
    wide = study.Point("w=2", Scaling(width=2.0), 390, 1, (0.6, 0.7, 0.8))
    grown = study.Point("phi=2", Scaling(1.4, 1.2, 1.3), 400, 1, (0.62, 0.74, 0.86))
    points = {"compound": [base, grown], "width": [base, wide]}
    points |= {"depth": [base], "resolution": [base]}
    text = "\n".join(comparison.describe(points))
    assert "| phi=2 | width, w=2 | 0.00 | +4.00 | ± 4.97 | 3 |" in text
    assert "| phi=2 | depth, base | 0.00 | +24.00 |" in text


def test_one_seed_has_no_interval():
    assert comparison.describe_interval([0.5]) == ""


def test_draws_a_line_in_the_order_of_cost():
    axes = figure.drawing.new_figure().subplots()
    line = [study.Point(str(x), Scaling(), x, 1, (0.5,)) for x in (2, 8, 1)]
    figure.line(axes, line, "width", 0)
    assert list(axes.lines[0].get_xdata() * 1e6) == pytest.approx([1, 2, 8])


def test_labels_stand_beside_the_line_whether_it_rises_or_falls():
    axes = figure.drawing.new_figure().subplots()
    scores = {"base": 0.5, "w=2": 0.8, "w=3": 0.6}
    points = enumerate(scores.items(), start=1)
    line = [study.Point(label, Scaling(), x, 1, (y,)) for x, (label, y) in points]
    figure.line(axes, line, "width", 0, labels=True)
    above = {text.get_text(): text.get_position()[1] > 0 for text in axes.texts}
    assert above == {"base": False, "w=2": True, "w=3": False}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 0}, "`seeds` must be at least 1. Received: seeds=0"),
        ({"at": ("2x1",)}, "like 2:1,1:1.5. Received: at='2x1'"),
        ({"widths": (0.0,)}, "`width` must be a finite number above 0"),
    ],
)
def test_rejects_invalid_options(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        study.run(dataclasses.replace(OPTIONS, **change), tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", list(baselines.NETWORKS))
def test_baselines_are_scaled_like_the_published_networks(name):
    options = dataclasses.replace(
        OPTIONS, base=name.lower(), base_width=0.25, base_depth=0.5
    )
    found, config = study.base_of(options)
    assert found == name
    scaled = base_network.scaled_config(config, Scaling(2.0, 2.0, 1.5), seed=1)
    assert (scaled.width, scaled.depth, scaled.image_size) == (0.5, 1.0, 24)
    net = baselines.build(name, scaled, 10)
    other = baselines.NETWORKS[name](
        Scaling(1.0, 0.5), resolution=24, classes=10, dropout=0.0
    )
    assert net.count_params() == other.count_params()
    assert net.output_shape == (None, 10)
    assert baselines.count(name, scaled, 10)[0] == profile(other).multiply_adds


def test_trains_a_baseline_of_table_3(tmp_path):
    options = dataclasses.replace(
        OPTIONS,
        base="MobileNetV2",
        base_width=0.25,
        base_depth=0.25,
        widths=(),
        depths=(),
        resolutions=(),
        at=(),
        phis=(),
        seeds=1,
        epochs=1,
        train_images=64,
        validation_images=20,
        test_images=20,
    )
    study.run(options, tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert (
        "MobileNetV2 with 0.25 times the channels and 0.25 times the blocks" in report
    )
    assert "Each network is trained for 1 epoch with" in report
    (row,) = folder.ResultsTable(
        tmp_path / "results.csv",
        study.ScalingRow,
        ("width", "depth", "resolution", "seed"),
    ).rows
    published = MobileNetV2(Scaling(0.25, 0.25), resolution=16, classes=10)
    assert row.multiply_adds == profile(published).multiply_adds


def test_suggests_the_nearest_base():
    options = dataclasses.replace(OPTIONS, base="MobileNetV3")
    with pytest.raises(ValueError, match=r"Did you mean 'MobileNetV\d'.*MobileNetV3"):
        study.base_of(options)


def test_the_base_can_be_made_smaller():
    options = dataclasses.replace(OPTIONS, base="b0", base_width=0.5, image_size=64)
    _, config = study.base_of(options)
    assert (config.width, config.depth, config.image_size) == (0.5, 1.0, 64)


def test_baselines_keep_their_momentum_without_one_in_the_recipe():
    _, config = study.base_of(dataclasses.replace(OPTIONS, base="MobileNetV1"))
    config = dataclasses.replace(config, width=0.25, bn_momentum=None)
    net = baselines.build("MobileNetV1", config, 10)
    assert net.get_layer("conv1_bn").momentum == 0.99
    config = dataclasses.replace(config, bn_momentum=0.8)
    net = baselines.build("MobileNetV1", config, 10)
    assert net.get_layer("conv1_bn").momentum == 0.8


def test_baselines_reject_settings_that_they_lack():
    _, config = study.base_of(dataclasses.replace(OPTIONS, base="MobileNetV1"))
    baselines.check(config)
    for change in ({"weights": "imagenet"}, {"progressive_sizes": "16,24"}):
        with pytest.raises(ValueError, match="for a baseline of Table 3"):
            baselines.check(dataclasses.replace(config, **change))


@pytest.mark.parametrize(("costs", "ticks"), [((1, 3), 1.5), ((1, 40), None)])
def test_narrow_ranges_have_ticks_between_powers_of_two(costs, ticks):
    axes = drawing.new_figure().subplots()
    axes.set_xlim(*costs)
    figure.set_cost_scale(axes)
    assert (1.5 in axes.xaxis.get_majorticklocs()) == (ticks == 1.5)
    assert 2.0 in axes.xaxis.get_majorticklocs()


def test_keeps_run_folders_that_cam_reads(pretended, tmp_path, monkeypatch):
    kept = []

    def train(trial, folder, *, scores_only=True):
        kept.append((folder.relative_to(tmp_path), trial.config, scores_only))

    monkeypatch.setattr(trials, "train", train)
    study.run(dataclasses.replace(OPTIONS, keep_runs=True), tmp_path)
    names = {path.name for path, _, _ in kept}
    figure_4 = {"w=1_d=2_r=1.5", "w=2_d=2_r=1.5"}
    assert names == {"base", "w=2", "d=2", "r=1.5", "phi=1", *figure_4}
    assert {path.parent.name for path, _, _ in kept} == {"runs"}
    assert {(config.seed, scores_only) for _, config, scores_only in kept} == {
        (0, False)
    }
    (deep,) = {config.depth for path, config, _ in kept if path.name == "d=2"}
    assert deep == 2.0
    assert "run folders of seed 0" in (tmp_path / "report.md").read_text()


def test_does_not_keep_runs_of_baselines(tmp_path):
    options = dataclasses.replace(OPTIONS, base="MobileNetV2", keep_runs=True)
    with pytest.raises(ValueError, match=r"`keep_runs` must be False .*MobileNetV2"):
        study.run(options, tmp_path)
    assert not list(tmp_path.iterdir())
