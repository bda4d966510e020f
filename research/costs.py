"""Cost of a network, and the reward that balances accuracy against it."""

from __future__ import annotations

from keras_efficientnet import plan_cost
from keras_efficientnet.architecture import Variant
from keras_efficientnet.common.choices import check_choice
from keras_efficientnet.cost.tflite_latency import tflite_latency

KINDS = {"flops": "multiply-adds", "latency": "ms per image"}


def check_kind(kind: str) -> None:
    """Checks the name of a cost.

    Raises:
        ValueError: There is no such cost; the message suggests the nearest.
    """
    check_choice("cost", kind, KINDS)


def cost_of(kind: str, variant: Variant, classes: int) -> float:
    """Returns the cost of a network for one image.

    Args:
        kind: "flops" for multiply-adds, or "latency" for milliseconds, measured with
            TensorFlow Lite on one thread of this machine.
        variant: Network whose cost is returned.
        classes: Number of classes of its classifier.
    """
    if kind == "latency":
        return tflite_latency(variant, classes)
    return float(plan_cost(variant, classes).multiply_adds)


def format_cost(kind: str, cost: float) -> str:
    """Returns a cost with its unit."""
    return f"{cost:.3f} ms" if kind == "latency" else f"{cost / 1e6:.3f} M"


def search_reward(top1: float, cost: float, target: float, weight: float) -> float:
    """Returns the objective of a search: top1 * (cost / target) ** weight.

    Args:
        top1: Top-1 accuracy, a ratio.
        cost: Cost of the network.
        target: Target cost, in the same unit.
        weight: Exponent. If it is negative, a network of twice the cost needs
            2 ** -weight times the top-1 for the same reward.

    Source:
        arXiv:1905.11946, section 4: the weight is -0.07; arXiv:1807.11626, equation 2.

    Example:
        >>> round(search_reward(0.75, 800e6, 400e6, -0.07), 4)
        0.7145
    """
    return float(top1 * (cost / target) ** weight)
