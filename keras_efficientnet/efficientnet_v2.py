"""EfficientNetV2, as a drop-in replacement for `keras.applications.efficientnet_v2`."""

from .efficientnet import EfficientNetV2B0 as EfficientNetV2B0
from .efficientnet import EfficientNetV2B1 as EfficientNetV2B1
from .efficientnet import EfficientNetV2B2 as EfficientNetV2B2
from .efficientnet import EfficientNetV2B3 as EfficientNetV2B3
from .efficientnet import EfficientNetV2L as EfficientNetV2L
from .efficientnet import EfficientNetV2M as EfficientNetV2M
from .efficientnet import EfficientNetV2S as EfficientNetV2S
from .efficientnet import EfficientNetV2XL as EfficientNetV2XL
from .preprocessing import decode_predictions as decode_predictions
from .preprocessing import preprocess_input as preprocess_input
