"""Export of a model to files for servers, phones and browsers.

python -m export.main --model=runs/digits --formats=saved_model,tflite,tflite_int8
"""

from __future__ import annotations

from collections.abc import Sequence

from absl import flags

from keras_efficientnet.common.cli import console
from keras_efficientnet.common.cli.exit_codes import ExitCode, run_app


def define_flags(values: flags.FlagValues) -> None:
    """Defines the command's flags.

    Args:
        values: Flags to add to; `flags.FLAGS` in the command itself.
    """
    from keras_efficientnet.common.cli.model_flags import define_model_flags

    from .api import CALIBRATION_IMAGES
    from .formats.registry import DEFAULTS, describe_formats

    def string(name: str, default: str | None, text: str) -> None:
        flags.DEFINE_string(name, default, text, flag_values=values)

    string("model", None, "Run folder, .keras or .h5 file, or name of a variant.")
    define_model_flags(values)
    flags.DEFINE_list(
        "formats",
        list(DEFAULTS),
        f"Formats to export to: all, or any of:\n{describe_formats()}\n",
        flag_values=values,
    )
    string(
        "calibration",
        None,
        "Folder or CSV file of calibration images. Default: the run's.",
    )
    flags.DEFINE_integer(
        "calibration_images",
        CALIBRATION_IMAGES,
        "Number of calibration images.",
        flag_values=values,
        lower_bound=0,
    )
    string(
        "verify",
        None,
        "Folder or CSV file of images to compare on. Default: the run's.",
    )
    string(
        "output_dir",
        None,
        "Folder to write to. Default: the folder export in a run folder.",
    )
    string("title", None, "Title of the web page. Default: the model's name.")
    flags.DEFINE_bool(
        "calibrate",
        True,
        "Return calibrated probabilities, if the run has a calibration.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "reject_precision",
        None,
        "Precision of accepted predictions, such as 0.95; less certain images are not "
        "recognised. Default: the run's.",
        flag_values=values,
    )
    string(
        "unknown",
        None,
        "Folder of images of other classes; the report lists the share that is "
        "rejected.",
    )
    flags.DEFINE_integer(
        "saved_model_version",
        None,
        "Version for TensorFlow Serving: writes saved_model/VERSION. Default: no "
        "folder for the version.",
        flag_values=values,
        lower_bound=1,
    )
    flags.mark_flag_as_required("model", flag_values=values)


def main(argv: Sequence[str], values: flags.FlagValues = flags.FLAGS) -> int:
    """Exports a model as specified by the flags.

    Returns:
        Exit code: 0 if all artefacts passed, 1 if one failed, 2 for wrong input.
    """
    from .api import export_model
    from .verify import VerificationError

    if len(argv) > 1:
        console.report(f"Error: all arguments must be flags. Received: {argv[1]}")
        return ExitCode.WRONG_INPUT
    try:
        export_model(
            values.model,
            values.formats,
            weights=values.weights,
            labels=values.labels,
            calibration=values.calibration,
            calibration_images=values.calibration_images,
            verify=values.verify,
            output_dir=values.output_dir,
            image_size=values.image_size,
            crop_ratio=values.crop_ratio,
            interpolation=values.interpolation,
            crop_mode=values.crop_mode,
            title=values.title,
            calibrate=values.calibrate,
            reject_precision=values.reject_precision,
            thresholds=values.thresholds,
            unknown=values.unknown,
            saved_model_version=values.saved_model_version,
        )
    except VerificationError as error:
        console.report(f"Failed: {error}")
        return ExitCode.FAILURE
    except (ValueError, OSError, ImportError) as error:
        console.report(f"Error: {error}")
        return ExitCode.WRONG_INPUT
    return ExitCode.SUCCESS


def run() -> None:
    """Runs the command line."""
    console.prepare_streams()
    define_flags(flags.FLAGS)
    run_app(main)


if __name__ == "__main__":
    run()
