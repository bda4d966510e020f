"""The part of the trainer that studies use.

In the checkout the other programs are top-level packages, in the wheel they are beside
this one. Imports TensorFlow, so the studies import it when they train, not before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__ == "research":
    from training import config
    from training.data import sources
    from training.engine import trainer
    from training.engine.preemption import SignalHandler
    from training.memory import variant_of
else:
    from ..training import config
    from ..training.data import sources
    from ..training.engine import trainer
    from ..training.engine.preemption import SignalHandler
    from ..training.memory import variant_of

__all__ = ["SignalHandler", "config", "sources", "trainer", "variant_of"]
