"""End of a run: scores of the best weights, model, pictures and report."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import keras

from keras_efficientnet.calibration.thresholds import scale_thresholds
from keras_efficientnet.common.cli import console
from keras_efficientnet.common.files import replacing
from keras_efficientnet.common.output_activation import SIGMOID
from keras_efficientnet.common.scoring.multi_label import choose_thresholds

from ..config import TrainConfig
from ..metrics.evaluator import Evaluator
from ..metrics.metrics import Scores
from ..metrics.multi_label import MultiLabelScores, per_class_rows
from ..metrics.run_calibration import (
    RunCalibration,
    calibrate_and_score,
    calibrate_labels,
    wants_calibration,
)
from ..reporting import label_plots, plots
from ..reporting.calibration_plots import draw_calibration
from ..reporting.report_page import write_report
from ..reporting.run_folder import RunFolder
from . import checkpoints, model, phases
from .cluster import agreement
from .run import Run


def finish(run: Run, *, scores_only: bool = False) -> dict[str, Any]:
    """Scores the best weights once on the final split and writes the results.

    All workers share the scoring; the chief writes.

    Args:
        run: Run whose steps are finished.
        scores_only: Whether to write summary.json only. Its loss then includes label
            smoothing, as in validation.

    Returns:
        The contents of summary.json.
    """
    state, folder = run.state, run.folder
    run.workers.together(
        lambda: checkpoints.load_weights(state.model, folder.best_weights)
    )
    agreement.check_state(run.workers, state, "model")
    final, evaluator = state.model, run.evaluator
    if not scores_only:
        with run.strategy.scope():
            final = model.with_probabilities(run.config, state.model)
        evaluator = Evaluator(
            final,
            used_strategy=run.strategy,
            multi_label=run.config.is_multi_label,
        )
    validation = _choose_thresholds(run, evaluator)
    calibrates = not scores_only and wants_calibration(run.config)
    scores, calibration = _score_final_split(run, evaluator, calibrates)
    summary = _summarize(run, final, scores, validation)
    if calibration is not None:
        summary["calibration"] = calibration.summary()

    def write() -> None:
        if evaluator.thresholds is not None:
            spec = run.config.preprocessing
            folder.write_preprocessing(spec, SIGMOID, evaluator.thresholds)
        if not scores_only:
            bad = dict.fromkeys(run.bad_images.names if run.bad_images else ())
            bad |= run.evaluator.bad_images | evaluator.bad_images
            _write_calibration(folder, calibration)
            _write_results(run, final, evaluator, summary, list(bad))
        # Last, because it marks the run as finished.
        folder.write_summary(summary)

    run.workers.by_chief(write)
    return summary


def _choose_thresholds(run: Run, evaluator: Evaluator) -> Scores | None:
    """Chooses the thresholds of a multi-label run on the images that chose the epoch.

    Returns:
        The scores on these images; None for a run with one label per image.
    """
    if not run.config.is_multi_label:
        return None
    split = run.source.split(run.source.selection_split)
    spec, size = run.config.preprocessing, run.config.batch_size
    scores = evaluator(split, spec, size, run.skips_bad_images)
    found = choose_thresholds(evaluator.label_sets, evaluator.probabilities)
    evaluator.thresholds = found.tolist()
    return scores


def _score_final_split(
    run: Run, evaluator: Evaluator, calibrates: bool
) -> tuple[Scores, RunCalibration | None]:
    """Scores the final split; with calibration, in the same pass over its images."""
    config, source = run.config, run.source
    if calibrates and not config.is_multi_label:
        calibration, scores = calibrate_and_score(evaluator, source, config)
        return scores, calibration
    selected = evaluator.label_sets, evaluator.probabilities
    split, spec = source.split(source.final_split), config.preprocessing
    scores = evaluator(split, spec, config.batch_size, run.skips_bad_images)
    if not calibrates:
        return scores, None
    scored = evaluator.label_sets, evaluator.probabilities
    return scores, calibrate_labels(selected, scored, source.selection_split)


def rebuild_missing_model(config: TrainConfig, folder: RunFolder) -> None:
    """Rebuilds the model file of a finished run if it is missing.

    Args:
        config: Configuration of the run.
        folder: Folder of the run.

    Raises:
        ValueError: The best weights or the class names are missing or damaged.
    """
    if folder.model.is_file():
        return
    net = model.build(config, len(folder.read_labels()))
    checkpoints.load_weights(net, folder.best_weights)
    with replacing(folder.model) as unfinished:
        model.with_probabilities(config, net).save(unfinished)


def _write_calibration(folder: RunFolder, found: RunCalibration | None) -> None:
    if found is None:
        return
    found.record.write(folder.root)
    draw_calibration(
        found.before,
        found.after,
        folder.calibration_plot,
        found.record.reject_threshold,
        has_risk=not isinstance(found.record.temperature, tuple),
    )
    if found.problem:
        console.report(f"warning: {found.problem}")


def _write_results(
    run: Run,
    final: keras.Model,
    evaluator: Evaluator,
    summary: dict[str, Any],
    bad_images: list[str],
) -> None:
    folder, source = run.folder, run.source
    split, spec = source.split(source.final_split), run.config.preprocessing
    with replacing(folder.model) as unfinished:
        final.save(unfinished)
    most, skips = run.config.export_samples, run.skips_bad_images
    folder.write_samples(source, most, skips)
    if run.metrics.rows:
        plots.draw_curves(
            run.metrics.rows,
            folder.curves,
            best_epoch=summary["best_epoch"],
            label_smoothing=run.config.label_smoothing,
        )
    names, seed = source.class_names, run.config.seed
    temperature = summary.get("calibration", {}).get("temperature", 1.0)
    draw = functools.partial(plots.draw_predictions, temperature=temperature)
    class_rows: list[dict[str, Any]] = []
    if evaluator.thresholds is not None:
        draw = functools.partial(
            label_plots.draw_predictions, thresholds=evaluator.thresholds
        )
        class_rows = per_class_rows(
            evaluator.label_sets, evaluator.probabilities, evaluator.thresholds, names
        )
        if isinstance(temperature, list):  # prediction uses calibrated probabilities
            scaled = scale_thresholds(evaluator.thresholds, temperature)
            limits = dict(zip(names, scaled, strict=True))
            class_rows = [r | {"threshold": limits[r["class"]]} for r in class_rows]
        label_plots.draw_per_class(class_rows, folder.per_class)
    draw(final, split, spec, names, seed, folder.predictions, skips)
    write_report(
        folder,
        run.config,
        summary,
        run_phases=phases.plan_phases(run.config, run.images),
        bad_images=bad_images,
        class_rows=class_rows,
    )


def _summarize(
    run: Run, final: keras.Model, scores: Scores, validation: Scores | None
) -> dict[str, Any]:
    state = run.state
    weights = final.trainable_variables
    best: dict[str, Any] = {}
    if isinstance(validation, MultiLabelScores):
        best["best_validation_map"] = validation.map
    return {
        "model": run.config.variant,
        "trainable_parameters": sum(math.prod(v.shape) for v in weights),
        "steps": run.step,
        "best_epoch": float(state.best_epoch.numpy()),
        "best_validation_top1": validation.top1
        if validation
        else float(state.best_top1.numpy()),
        **best,
        "final_split": run.source.final_split,
        **{f"final_{k}": v for k, v in dataclasses.asdict(scores).items()},
        "seconds": round(float(state.seconds.numpy()), 1),
        # None if an earlier session finished the steps but not the summary.
        "seconds_to_first_step": None
        if math.isnan(run.first_step_s)
        else round(run.first_step_s, 1),
    }
