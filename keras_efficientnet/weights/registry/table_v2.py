"""Files of EfficientNetV2 and EfficientNet-EdgeTPU."""

from __future__ import annotations

from .weight_file import WeightFile, key_and_size

# Top-1 percent. Source: google/automl, efficientnetv2/README.md.
_AUTOML_TOP1: dict[str, dict[str, float | None]] = {
    "imagenet": dict(b0=78.7, b1=79.8, b2=80.5, b3=82.1, s=83.9, m=85.2, l=85.7),
    "imagenet21k": dict.fromkeys(("b0", "b1", "b2", "b3", "s", "m", "l", "xl")),
    "imagenet21k-ft1k": {
        **dict.fromkeys(("b0", "b1", "b2", "b3")),
        **dict(s=84.9, m=86.2, l=86.9, xl=87.2),
    },
}
_AUTOML_SUFFIXES = {
    "imagenet": "",
    "imagenet21k": "-21k",
    "imagenet21k-ft1k": "-21k-ft1k",
}
_GOOGLE = "https://storage.googleapis.com"
_AUTOML_URL = f"{_GOOGLE}/cloud-tpu-checkpoints/efficientnet/v2/efficientnetv2-{{}}.tgz"
# Number of classes; the labels are in automl's g3doc/imagenet21k_labels.txt.
CLASSES_21K = 21_843
_PRETRAINING_SIZE = 224  # pixels, of ImageNet-21k

# MD5 with the classifier, MD5 without it.
# Source: keras.applications, efficientnet_v2.py.
_KERAS_URL = f"{_GOOGLE}/tensorflow/keras-applications/efficientnet_v2/efficientnetv2-"
_KERAS = {
    "b0": ("21ecbf6da12460d5c40bb2f29ceb2188", "893217f2bb855e2983157299931e43ff"),
    "b1": ("069f0534ff22adf035c89e2d9547a9dc", "0e80663031ca32d657f9caa404b6ec37"),
    "b2": ("424e49f28180edbde1e94797771950a7", "1dfe2e7a5d45b6632553a8961ea609eb"),
    "b3": ("1f1fc43bd98a6e4fd8fdfd551e02c7a0", "f6abf7b5849ac99a89b50dd3fd532856"),
    "s": ("e1d88a8495beba45748fedd0cecbe016", "af0682fb74e8c54910f2d4393339c070"),
    "m": ("a3bf6aa3276309f4fc6a34aa114c95cd", "1b8dc055df72dde80d614482840fe342"),
    "l": ("27e6d408b53c7ebc868fefa357689935", "b0b66b5c863aef5b46e8608fe1711615"),
}

_TIMM_RELEASES = "https://github.com/huggingface/pytorch-image-models/releases/download"
_TIMM_HUB = "https://huggingface.co/timm/{}/resolve/main/model.safetensors"
# Family, variant, file (None if only on Hugging Face), share of the shorter side that
# the evaluation crop keeps (None: the whole image squashed to the square), top-1
# percent. Source: timm, models/efficientnet.py and results/results-imagenet.csv.
_TIMM = (
    ("imagenet", "b0", "b0-c7cc451f", 0.875, 78.386),
    ("imagenet", "b1", "b1-be6e41b0", 0.882, 79.518),
    ("imagenet", "b2", "b2-847de54e", 0.890, 80.226),
    ("imagenet", "b3", "b3-57773f13", 0.904, 81.960),
    ("imagenet", "s", "s-eb54923e", 1.0, 83.900),
    ("imagenet", "m", "m-cc09e0cd", None, 85.208),
    ("imagenet", "l", "l-d664b728", None, 85.660),
    ("imagenet21k", "b3", None, 0.904, None),
    ("imagenet21k", "s", "s_21k-6337ad01", 1.0, None),
    ("imagenet21k", "m", "m_21k-361418a2", None, None),
    ("imagenet21k", "l", "l_21k-91a19ec9", None, None),
    ("imagenet21k", "xl", "xl_in21k-fd7e8abf", None, None),
    ("imagenet21k-ft1k", "b3", None, 0.9, 82.634),
    ("imagenet21k-ft1k", "s", "s_21ft1k-d7dafa41", 1.0, 84.332),
    ("imagenet21k-ft1k", "m", "m_21ft1k-bf41664a", None, 86.014),
    ("imagenet21k-ft1k", "l", "l_21ft1k-60127a9d", None, 86.802),
    ("imagenet21k-ft1k", "xl", "xl_in21ft1k-06c35c48", None, 86.754),
)
_TIMM_TAGS = {
    "imagenet": "in1k",
    "imagenet21k": "in21k",
    "imagenet21k-ft1k": "in21k_ft_in1k",
}

# Variant, file, normalisation, resize method, top-1 percent.
# Source: torchvision, models/efficientnet.py.
_TORCHVISION = (
    ("s", "s-dd5fe13b", "imagenet", "bilinear", 84.228),
    ("m", "m-dc08266a", "imagenet", "bilinear", 85.112),
    ("l", "l-59c71312", "inception", "bicubic", 85.808),
)

# Top-1 percent of the float checkpoint.
# Source: tensorflow/tpu, efficientnet/edgetpu/README.md.
_EDGETPU_TOP1 = dict(S=77.23, M=78.69, L=80.62)
_EDGETPU_URL = f"{_GOOGLE}/cloud-tpu-checkpoints/efficientnet/efficientnet-edgetpu-{{}}"
_EDGETPU_CROPS = dict(S=0.875, M=0.882, L=0.904)
# Family, variant, timm's model name, file, top-1 percent. Source: as for `_TIMM`.
_TIMM_EDGETPU = (
    ("imagenet", "S", "tf_efficientnet_es.in1k", "tf_efficientnet_es-ca1afbfe", 76.608),
    ("imagenet", "M", "tf_efficientnet_em.in1k", "tf_efficientnet_em-e78cfe58", 78.128),
    ("imagenet", "L", "tf_efficientnet_el.in1k", "tf_efficientnet_el-5143854e", 80.246),
    ("timm-ra", "S", "efficientnet_es.ra_in1k", "efficientnet_es_ra-f111e99c", 78.100),
    (
        "timm-ra2",
        "M",
        "efficientnet_em.ra2_in1k",
        "efficientnet_em_ra2-66250f76",
        79.256,
    ),
    ("timm-ra", "L", "efficientnet_el.ra_in1k", "efficientnet_el-3b455510", 81.308),
    (
        "timm-pruned",
        "S",
        "efficientnet_es_pruned.in1k",
        "efficientnet_es_pruned75-1b7248cf",
        75.010,
    ),
    (
        "timm-pruned",
        "L",
        "efficientnet_el_pruned.in1k",
        "efficientnet_el_pruned70-ef2a2ccf",
        80.284,
    ),
)


def _is_small(short: str) -> bool:
    """B0 to B3 were trained like the first EfficientNet, the others were not."""
    return short.startswith("b")


def _automl(family: str, short: str) -> WeightFile:
    key, size = key_and_size(f"v2{short}")
    is_pretraining = family == "imagenet21k"
    size = _PRETRAINING_SIZE if is_pretraining else size
    is_like_v1 = _is_small(short) and family == "imagenet"
    is_squashed = size >= 320
    top1 = _AUTOML_TOP1[family][short]
    return WeightFile(
        family=family,
        publisher="automl",
        variant=key,
        include_top=True,
        url=_AUTOML_URL.format(f"{short}{_AUTOML_SUFFIXES[family]}"),
        checksum=None,
        normalization="imagenet" if is_like_v1 else "inception128",
        resolution=size,
        top1=top1,
        top1_source=None if top1 is None else "google/automl",
        source="google/automl, the original checkpoints",
        classes=CLASSES_21K if is_pretraining else 1000,
        crop_ratio=1.0 if is_squashed else None,
        interpolation="bicubic_legacy" if is_like_v1 else "bilinear_no_antialias",
        crop_mode="squash" if is_squashed else "center",
    )


def _keras(short: str, include_top: bool) -> WeightFile:
    key, size = key_and_size(f"v2{short}")
    suffix = "" if include_top else "_notop"
    is_small = _is_small(short)
    return WeightFile(
        family="imagenet",
        publisher="keras",
        variant=key,
        include_top=include_top,
        url=f"{_KERAS_URL}{short}{suffix}.h5",
        checksum=f"md5:{_KERAS[short][not include_top]}",
        normalization="imagenet" if is_small else "inception128",
        resolution=size,
        top1=_AUTOML_TOP1["imagenet"][short],
        top1_source="google/automl, of the same checkpoint",
        source="keras.applications, from google/automl's checkpoints",
        crop_ratio=None if is_small else 1.0,
        interpolation="bicubic_legacy" if is_small else "bilinear_no_antialias",
        crop_mode="center" if is_small else "squash",
    )


def _timm(
    family: str, short: str, file: str | None, crop: float | None, top1: float | None
) -> WeightFile:
    key, size = key_and_size(f"v2{short}")
    model = f"tf_efficientnetv2_{short}.{_TIMM_TAGS[family]}"
    # timm squashes the images of this one too, and then crops.
    is_squashed = crop is None or (family, short) == ("imagenet21k-ft1k", "b3")
    url = _TIMM_HUB.format(model)
    if file:
        url = f"{_TIMM_RELEASES}/v0.1-effv2-weights/tf_efficientnetv2_{file}.pth"
    return WeightFile(
        family=family,
        publisher="timm",
        variant=key,
        include_top=True,
        url=url,
        checksum=f"sha256:{file[-8:]}" if file else None,
        normalization="imagenet"
        if _is_small(short) and family == "imagenet"
        else "inception",
        resolution=size,
        top1=top1,
        top1_source=None if top1 is None else "timm",
        source=f"timm, {model}, from google/automl's checkpoint",
        classes=CLASSES_21K if family == "imagenet21k" else 1000,
        crop_ratio=size / int(size / (crop or 1.0)),
        interpolation="bicubic",
        crop_mode="squash" if is_squashed else "center",
    )


def _torchvision(
    short: str, file: str, normalization: str, interpolation: str, top1: float
) -> WeightFile:
    key, size = key_and_size(f"v2{short}")
    origin = ", from google/automl's checkpoint" if short == "l" else ""
    return WeightFile(
        family="torchvision",
        publisher="torchvision",
        variant=key,
        include_top=True,
        url=f"https://download.pytorch.org/models/efficientnet_v2_{file}.pth",
        checksum=f"sha256:{file[-8:]}",
        normalization=normalization,
        resolution=size,
        top1=top1,
        top1_source="torchvision",
        source=f"torchvision, IMAGENET1K_V1{origin}",
        licence="unknown",  # the README states one for the code only
        padding="symmetric",
        crop_ratio=1.0,
        interpolation=interpolation,
    )


def _edgetpu(short: str) -> WeightFile:
    key, size = key_and_size(f"edgetpu{short}")
    return WeightFile(
        family="imagenet",
        publisher="tpu",
        variant=key,
        include_top=True,
        url=f"{_EDGETPU_URL.format(short)}.tar.gz",
        checksum=None,
        normalization="lite",
        resolution=size,
        top1=_EDGETPU_TOP1[short],
        top1_source="tensorflow/tpu",
        source="tensorflow/tpu, the original checkpoints",
    )


def _timm_edgetpu(
    family: str, short: str, model: str, file: str, top1: float
) -> WeightFile:
    key, size = key_and_size(f"edgetpu{short}")
    is_port = model.startswith("tf_")
    origin = ", from tensorflow/tpu's checkpoint" if is_port else ""
    return WeightFile(
        family=family,
        publisher="timm",
        variant=key,
        include_top=True,
        url=f"{_TIMM_RELEASES}/v0.1-weights/{file}.pth",
        checksum=f"sha256:{file[-8:]}",
        normalization="inception" if is_port else "imagenet",
        resolution=size,
        top1=top1,
        top1_source="timm",
        source=f"timm, {model}{origin}",
        padding="same" if is_port else "symmetric",
        bn_epsilon=1e-3 if is_port else 1e-5,
        crop_ratio=size / int(size / _EDGETPU_CROPS[short]),
        interpolation="bicubic",
    )


# Files with a checksum come first.
V2_FILES = (
    *(_keras(short, top) for top in (True, False) for short in _KERAS),
    *(_timm(*row) for row in _TIMM),
    *(_torchvision(*row) for row in _TORCHVISION),
    *(
        _automl(family, short)
        for family, rows in _AUTOML_TOP1.items()
        for short in rows
    ),
)
EDGETPU_FILES = (
    *(_timm_edgetpu(*row) for row in _TIMM_EDGETPU),
    *map(_edgetpu, _EDGETPU_TOP1),
)
