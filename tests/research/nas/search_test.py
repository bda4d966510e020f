import dataclasses
import json

import pytest

from keras_efficientnet import STAGES, EfficientNet, Stage, profile, read_stages
from research import base_network, costs
from research.nas import optuna_study, page, space
from research.nas import search as nas
from training.engine.preemption import Interrupted

MOBILENET_V2 = space.SKELETONS["mobilenet_v2"]
OPTIONS = nas.SearchOptions(data="digits", trials=6, sampler="random", processes=1)


def pretend(trial, folder):
    """Makes accuracy grow with the number of channels."""
    filters = sum(stage.filters for stage in trial.config.stage_table)
    top1 = 0.5 + filters / 400
    return {"top1": top1 - 0.1, "validation_top1": top1, "seconds": 1.0}


@pytest.fixture
def pretended(monkeypatch):
    prepare = nas.prepare

    def pretending(options, root):
        return dataclasses.replace(prepare(options, root), make=pretend)

    monkeypatch.setattr(nas, "prepare", pretending)


def test_space_contains_b0():
    point = space.encode(STAGES, MOBILENET_V2)
    assert len(point) == 7 * 6
    assert point["stage3_kernel"] == 5
    assert space.decode(point, MOBILENET_V2) == STAGES


def test_choices_surround_the_skeleton():
    """Source: arXiv:1807.11626, section 4.1."""
    found = space.choices(MOBILENET_V2[3])
    assert found["filters"] == (48, 56, 64, 72, 80)
    assert found["repeats"] == (3, 4, 5)
    assert space.choices(MOBILENET_V2[0])["repeats"] == (1, 2)
    narrow = Stage(repeats=1, kernel=3, stride=1, expand=1, filters=8)
    assert space.choices(narrow)["filters"] == (8,)
    assert space.count((narrow,)) == 2 * 4 * 2 * 2 * 2 * 1


def test_rejects_stages_outside_the_space():
    wide = (dataclasses.replace(STAGES[0], filters=24), *STAGES[1:])
    with pytest.raises(ValueError, match="`filters` of stage 1 .* filters=24"):
        space.encode(wide, MOBILENET_V2)
    still = (dataclasses.replace(STAGES[0], stride=2), *STAGES[1:])
    with pytest.raises(ValueError, match="`stride` of stage 1 must be one of 1"):
        space.encode(still, MOBILENET_V2)
    with pytest.raises(ValueError, match="the skeleton's 7 rows. Received: 6 rows"):
        space.encode(STAGES[1:], MOBILENET_V2)


def test_reward_equals_hand_calculation():
    assert costs.search_reward(0.8, 400e6, 400e6, -0.07) == pytest.approx(0.8)
    assert costs.search_reward(0.8, 800e6, 400e6, -0.07) == pytest.approx(0.8 / 2**0.07)
    assert costs.search_reward(0.8, 800e6, 400e6, 0.0) == 0.8


def test_writes_the_winner_as_a_stage_table(pretended, tmp_path, monkeypatch, capsys):
    nas.run(OPTIONS, tmp_path)
    rows = list(map(str, (tmp_path / "results.csv").read_text().splitlines()))
    assert len(rows) == 1 + 6
    call = capsys.readouterr().out.strip()
    monkeypatch.chdir(tmp_path)
    model = eval(call, {"EfficientNet": EfficientNet, "read_stages": read_stages})
    winner = read_stages(tmp_path / "winner.json")
    space.encode(winner, base_network.SMALL)  # raises if it is not in the space
    report = (tmp_path / "report.md").read_text()
    assert f"{profile(model).multiply_adds / 1e6:.3f} M" in report
    assert "base" in report.split("## The winner")[0]
    assert (tmp_path / "nas.png").read_bytes()[:4] == b"\x89PNG"


def test_resumes_a_search_with_more_trials(pretended, tmp_path):
    nas.run(OPTIONS, tmp_path)
    first = (tmp_path / "results.csv").read_text().splitlines()
    nas.run(dataclasses.replace(OPTIONS, trials=8), tmp_path)
    more = (tmp_path / "results.csv").read_text().splitlines()
    assert more[:7] == first
    assert len(more) == 9
    # The sampler must not repeat the networks of the first session.
    tried = [line.split('"', 1)[1] for line in more[1:]]
    assert len(set(tried)) == 8


def test_searches_by_latency(pretended, tmp_path, monkeypatch):
    monkeypatch.setattr(costs, "tflite_latency", lambda variant, classes: 0.5)
    nas.run(dataclasses.replace(OPTIONS, trials=2, cost="latency"), tmp_path)
    report = (tmp_path / "report.md").read_text()
    assert "T = 0.500 ms" in report
    assert "| 0.500 ms |" in report


def test_machines_share_a_database(pretended, tmp_path):
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    for place in ("here", "there"):
        shared = dataclasses.replace(OPTIONS, trials=4, storage=storage)
        nas.run(shared, tmp_path / place)
    here, there = (
        (tmp_path / place / "results.csv").read_text() for place in ("here", "there")
    )
    assert here == there
    assert not (tmp_path / "there" / "trials").exists()


def test_machines_do_not_try_the_same_network(pretended, tmp_path):
    shared = dataclasses.replace(OPTIONS, storage=str(tmp_path / "optuna.log"))
    here = nas.prepare(shared, tmp_path / "here")
    there = nas.prepare(shared, tmp_path / "there")
    tried = []

    def meanwhile(trial, folder):
        """Runs the other machine's trials while this one trains the base."""
        tried.append(trial.key)
        if folder.parent.parent.name == "here" and len(tried) == 1:
            nas.work(dataclasses.replace(there, make=meanwhile))
        return pretend(trial, folder)

    nas.work(dataclasses.replace(here, make=meanwhile))
    assert len(tried) == len(set(tried)) == 7

    with pytest.raises(ValueError, match="differs in epochs: 0.0 -> 2.0"):
        nas.run(dataclasses.replace(shared, epochs=2.0), tmp_path / "other")
    slower = dataclasses.replace(here, target=2 * here.target)
    study = optuna_study.open_study(here)
    assert optuna_study.agree_on_target(study, here) == here.target
    assert optuna_study.agree_on_target(study, slower) == here.target


def test_trains_each_network_once(pretended, tmp_path):
    narrow = '[{"repeats": 1, "kernel": 3, "stride": 1, "expand": 1, "filters": 8}]'
    options = dataclasses.replace(OPTIONS, skeleton=narrow, trials=2)
    search = nas.prepare(options, tmp_path)
    tried = []

    def make(trial, folder):
        tried.append(trial.key)
        return pretend(trial, folder)

    search = dataclasses.replace(search, make=make)
    study = optuna_study.open_study(search)
    for _ in range(2):
        study.enqueue_trial(space.encode(read_stages(narrow), search.skeleton))
        study.optimize(lambda trial: nas.objective(trial, search), n_trials=1)
    first, second = study.trials
    assert len(tried) == 1
    assert first.value == second.value
    assert first.user_attrs["stages"] == second.user_attrs["stages"]
    nas.run(options, tmp_path)
    assert "1 were tried in 2 trials" in (tmp_path / "report.md").read_text()


def test_continues_after_diverged_trainings(tmp_path):
    def diverge(trial, folder):
        if json.loads(trial.config.stages)[0]["kernel"] == 3:
            raise FloatingPointError("The loss must be finite")
        return pretend(trial, folder)

    search = dataclasses.replace(nas.prepare(OPTIONS, tmp_path), make=diverge)
    nas.work(search)
    kernels = [
        read_stages(trial.user_attrs["stages"])[0].kernel
        for trial in optuna_study.finished_trials(optuna_study.open_study(search))
    ]
    assert kernels == [5] * 6

    def never(trial, folder):
        raise FloatingPointError("The loss must be finite")

    search = dataclasses.replace(nas.prepare(OPTIONS, tmp_path / "new"), make=never)
    with pytest.raises(RuntimeError, match="training runs failed: their loss"):
        nas.work(search)


def test_resumes_interrupted_trainings(tmp_path):
    begun = []

    def stop(trial, folder):
        folder.mkdir(parents=True, exist_ok=True)
        begun.append(trial.key)
        raise (Interrupted if len(begun) == 1 else SystemExit)

    search = nas.prepare(OPTIONS, tmp_path)
    stopped = dataclasses.replace(search, make=stop)
    with pytest.raises(Interrupted):
        nas.work(stopped)
    with pytest.raises(
        SystemExit
    ):  # like a killed process: Optuna does not learn of it
        nas.objective(optuna_study.open_study(search).ask(), stopped)
    assert len(set(begun)) == 2
    elsewhere = dataclasses.replace(stopped, folder=tmp_path / "elsewhere")
    with pytest.raises(SystemExit):
        nas.objective(optuna_study.open_study(search).ask(), elsewhere)

    for _ in range(2):  # the second call must queue nothing
        optuna_study.requeue_interrupted(optuna_study.open_study(search), search)
    resumed = []

    def finish(trial, folder):
        resumed.append(trial.key)
        return pretend(trial, folder)

    nas.work(dataclasses.replace(search, make=finish))
    assert resumed[:2] == begun[:2]
    assert begun[2] not in resumed
    states = [trial.state.name for trial in optuna_study.open_study(search).trials]
    assert states.count("RUNNING") == 1  # the one in the other folder
    assert states.count("COMPLETE") == 6


@pytest.mark.slow
def test_processes_share_a_search(pretended, tmp_path):
    nas.run(dataclasses.replace(OPTIONS, trials=8, processes=2), tmp_path)
    lines = (tmp_path / "results.csv").read_text().splitlines()
    assert len(lines) in (9, 10)  # one training may have been in progress
    assert len({line.split('"', 1)[1] for line in lines[1:]}) == len(lines) - 1


def test_pareto_front():
    rows = [
        nas.SearchRow(i, cost, int(cost), 1, top1, top1, 0.0, 1.0, "")
        for i, (cost, top1) in enumerate([(3, 0.7), (1, 0.5), (2, 0.4), (2, 0.6)])
    ]
    assert [row.number for row in page.pareto(rows)] == [1, 3, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampler": "tpee"}, "Did you mean 'tpe'"),
        ({"cost": "latencies"}, "Did you mean 'latency'"),
        ({"trials": 0}, "`trials` must be at least 1"),
        ({"target": -1.0}, "`target` must be at least 0"),
        ({"skeleton": "none.json"}, "JSON text or the path of a file"),
    ],
)
def test_rejects_invalid_options(change, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        nas.prepare(dataclasses.replace(OPTIONS, **change), tmp_path)


def test_expands_the_home_folder_in_storage(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    options = dataclasses.replace(OPTIONS, storage="~/nas.log")
    assert nas.prepare(options, tmp_path).storage == str(tmp_path / "nas.log")


def test_names_the_extra_if_optuna_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(ImportError, match=r"efficientnet-keras\[research\]"):
        nas.run(OPTIONS, tmp_path / "new")
    assert not (tmp_path / "new").exists()
