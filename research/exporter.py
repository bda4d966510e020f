"""Parts of the exporter that studies use; see `trainer` for the two import paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__ == "research":
    from export.formats.tflite import convert
    from export.loading import Loaded, load
    from export.runtimes.base import KerasRunner
else:
    from ..export.formats.tflite import convert
    from ..export.loading import Loaded, load
    from ..export.runtimes.base import KerasRunner

__all__ = ["KerasRunner", "Loaded", "convert", "load"]
