"""What the studies use of the trainer; see `files` on the two names it has.

Imports TensorFlow, so the studies import it when they train, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__ == "research":
    from training import config, loop, sources
    from training.interrupt import Interrupts
    from training.plan import variant_of
    from training.run_folder import balanced
else:
    from ..training import config, loop, sources
    from ..training.interrupt import Interrupts
    from ..training.plan import variant_of
    from ..training.run_folder import balanced

__all__ = ["Interrupts", "balanced", "config", "loop", "sources", "variant_of"]
