"""EfficientNet for Keras 3: the family, the scaling law, the published weights."""

from .efficientnet import EfficientNet as EfficientNet
from .efficientnet import EfficientNetB0 as EfficientNetB0
