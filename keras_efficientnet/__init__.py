"""EfficientNet for Keras 3: the family, the scaling law, the published weights."""

from .architecture import VARIANTS as VARIANTS
from .cost import Cost as Cost
from .cost import plan_cost as plan_cost
from .cost import profile as profile
from .efficientnet import EfficientNet as EfficientNet
from .efficientnet import EfficientNetB0 as EfficientNetB0
from .efficientnet import EfficientNetB1 as EfficientNetB1
from .efficientnet import EfficientNetB2 as EfficientNetB2
from .efficientnet import EfficientNetB3 as EfficientNetB3
from .efficientnet import EfficientNetB4 as EfficientNetB4
from .efficientnet import EfficientNetB5 as EfficientNetB5
from .efficientnet import EfficientNetB6 as EfficientNetB6
from .efficientnet import EfficientNetB7 as EfficientNetB7
from .efficientnet import EfficientNetB8 as EfficientNetB8
from .efficientnet import EfficientNetL2 as EfficientNetL2
from .efficientnet import EfficientNetLite0 as EfficientNetLite0
from .efficientnet import EfficientNetLite1 as EfficientNetLite1
from .efficientnet import EfficientNetLite2 as EfficientNetLite2
from .efficientnet import EfficientNetLite3 as EfficientNetLite3
from .efficientnet import EfficientNetLite4 as EfficientNetLite4
from .efficientnet import from_phi as from_phi
from .preprocessing import EvalPreprocessing as EvalPreprocessing
from .preprocessing import decode_predictions as decode_predictions
from .preprocessing import preprocess_input as preprocess_input
from .scaling import Scaling as Scaling
from .scaling import compound as compound
from .scaling import fit_budget as fit_budget
from .scaling import round_filters as round_filters
from .scaling import round_repeats as round_repeats
from .transfer import check_input_range as check_input_range
from .transfer import feature_extractor as feature_extractor
from .transfer import freeze as freeze
from .transfer import reset_classifier as reset_classifier
from .weights import WeightFile as WeightFile
from .weights import list_weights as list_weights
from .weights import load_weights as load_weights
from .weights import weights_info as weights_info

__version__ = "0.1.0"
