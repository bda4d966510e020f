"""End of a run: scores of the best weights, model, pictures and report."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras

from keras_efficientnet.common.files import replacing

from ..config import TrainConfig
from ..metrics.evaluator import Evaluator
from ..metrics.metrics import Scores
from ..reporting import plots
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
    state, folder, source = run.state, run.folder, run.source
    run.workers.together(
        lambda: checkpoints.load_weights(state.model, folder.best_weights)
    )
    agreement.check_state(run.workers, state, "model")
    final, evaluator = state.model, run.evaluator
    if not scores_only:
        with run.strategy.scope():
            final = model.with_softmax(run.config, state.model)
        evaluator = Evaluator(final, used_strategy=run.strategy)
    split, spec = source.split(source.final_split), run.config.preprocessing
    scores = evaluator(split, spec, run.config.batch_size, run.skips_bad_images)
    summary = _summarize(run, final, scores)

    def write() -> None:
        if not scores_only:
            bad = dict.fromkeys(run.bad_images.names if run.bad_images else ())
            bad |= run.evaluator.bad_images | evaluator.bad_images
            _write_results(run, final, summary, list(bad))
        # Last, because it marks the run as finished.
        folder.write_summary(summary)

    run.workers.by_chief(write)
    return summary


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
        model.with_softmax(config, net).save(unfinished)


def _write_results(
    run: Run, final: keras.Model, summary: dict[str, Any], bad_images: list[str]
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
    plots.draw_predictions(final, split, spec, names, seed, folder.predictions, skips)
    write_report(
        folder,
        run.config,
        summary,
        run_phases=phases.plan_phases(run.config, run.images),
        bad_images=bad_images,
    )


def _summarize(run: Run, final: keras.Model, scores: Scores) -> dict[str, Any]:
    state = run.state
    weights = final.trainable_variables
    return {
        "model": run.config.variant,
        "trainable_parameters": sum(math.prod(v.shape) for v in weights),
        "steps": run.step,
        "best_epoch": float(state.best_epoch.numpy()),
        "best_validation_top1": float(state.best_top1.numpy()),
        "final_split": run.source.final_split,
        **{f"final_{k}": v for k, v in dataclasses.asdict(scores).items()},
        "seconds": round(float(state.seconds.numpy()), 1),
        # None if an earlier session finished the steps but not the summary.
        "seconds_to_first_step": None
        if math.isnan(run.first_step_s)
        else round(run.first_step_s, 1),
    }
