"""What the studies use of the exporter; see `files` on the two names it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__ == "research":
    from export.tflite import convert
else:
    from ..export.tflite import convert

__all__ = ["convert"]
