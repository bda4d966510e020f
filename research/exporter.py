"""What the studies use of the exporter; see `files` on the two names it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__ == "research":
    from export.images import list_images, read_image
    from export.loading import Loaded, load
    from export.runners import KerasRunner
    from export.tflite import convert
else:
    from ..export.images import list_images, read_image
    from ..export.loading import Loaded, load
    from ..export.runners import KerasRunner
    from ..export.tflite import convert

__all__ = ["KerasRunner", "Loaded", "convert", "list_images", "load", "read_image"]
