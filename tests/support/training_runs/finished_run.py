"""A finished tiny run, trained once for all processes of a test run."""

from tests.support.shared import shared
from tests.support.training_runs.tiny_run import TINY, tiny_source
from training.engine import trainer


@shared
def finished_run(folder):
    """Returns the run folder, which tests must not change, and its summary."""
    workdir = folder / "run"
    return workdir, trainer.train(TINY, workdir, tiny_source(), show=False)
