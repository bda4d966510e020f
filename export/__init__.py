"""Export of models to servers and phones, each artefact verified on real images.

From Python, call `export.export_model(...)`; the commands are `python -m export.main`
and `python -m export.predict`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keras_efficientnet.common.cli.missing_packages import explain_missing_packages

if TYPE_CHECKING:
    from .api import export_model as export_model
    from .verify import VerificationError as VerificationError

explain_missing_packages()

__all__ = ["VerificationError", "export_model"]


def __getattr__(name: str) -> Any:
    # TensorFlow is imported on first use, so that the commands can set its log level
    # before.
    if name == "export_model":
        from .api import export_model

        return export_model
    if name == "VerificationError":
        from .verify import VerificationError

        return VerificationError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
