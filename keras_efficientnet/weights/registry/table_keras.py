"""Files in the formats of TensorFlow and Keras."""

from __future__ import annotations

from .weight_file import WeightFile, key_and_size

# Top-1 accuracy in percent. Source: tensorflow/tpu, efficientnet/README.md.
# "baseline" to "randaugment" were trained without the held-out images, the others with.
TPU_TOP1 = {
    "baseline": dict(b0=76.7, b1=78.7, b2=79.8, b3=81.1, b4=82.5, b5=83.1),
    "autoaugment": dict(
        b0=77.1, b1=79.1, b2=80.1, b3=81.6, b4=82.9, b5=83.6, b6=84.0, b7=84.3
    ),
    "randaugment": dict(b5=83.7, b7=84.7),
    "advprop": dict(
        b0=77.6, b1=79.6, b2=80.5, b3=81.9, b4=83.3, b5=84.3, b6=84.8, b7=85.2, b8=85.5
    ),
    "noisy-student": dict(
        b0=78.8, b1=81.5, b2=82.4, b3=84.1, b4=85.3, b5=86.1, b6=86.4, b7=86.9, l2=88.4
    ),
    "noisy-student-475": dict(l2=88.2),
    # efficientnet/lite/README.md
    "imagenet": dict(lite0=75.1, lite1=76.7, lite2=77.6, lite3=79.8, lite4=81.5),
}
# Family: path of the archive below _TPU_ROOT.
# Source: tensorflow/tpu, efficientnet/README.md and lite/README.md.
_TPU_ROOT = "https://storage.googleapis.com/cloud-tpu-checkpoints/efficientnet"
_TPU_PATHS = {
    "baseline": "ckpts/efficientnet-{}.tar.gz",
    "autoaugment": "ckptsaug/efficientnet-{}.tar.gz",
    "randaugment": "randaug/efficientnet-{}-randaug.tar.gz",
    "advprop": "advprop/efficientnet-{}.tar.gz",
    "noisy-student": "noisystudent/noisy_student_efficientnet-{}.tar.gz",
    "noisy-student-475": "noisystudent/noisy_student_efficientnet-{}_475.tar.gz",
    "imagenet": "lite/efficientnet-{}.tar.gz",
}
L2_475 = 475  # pixels; resolution of the network named L2-475

# MD5 with the classifier, MD5 without it. Source: keras.applications, efficientnet.py.
_KERAS_APPLICATIONS = {
    "b0": ("902e53a9f72be733fc0bcb005b3ebbac", "50bc09e76180e00e4465e1a485ddc09d"),
    "b1": ("1d254153d4ab51201f1646940f018540", "74c4e6b3e1f6a1eea24c589628592432"),
    "b2": ("b15cce36ff4dcbd00b6dd88e7857a6ad", "111f8e2ac8aa800a7a99e3239f7bfb39"),
    "b3": ("ffd1fdc53d0ce67064dc6a9c7960ede0", "af6d107764bb5b1abb91932881670226"),
    "b4": ("18c95ad55216b8f92d7e70b3a046e2fc", "ebc24e6d6c33eaebbd558eafbeedf1ba"),
    "b5": ("ace28f2a6363774853a83a0b21b9421a", "38879255a25d3c92d5e44e04ae6cec6f"),
    "b6": ("165f6e37dce68623721b423839de8be5", "9ecce42647a20130c1f39a5d4cb75743"),
    "b7": ("8c03f828fec3ef71311cd463b6759d99", "cbcfe4450ddf6f3ad90b1b398090fe4a"),
}

# SHA-256 of qubvel's AutoAugment files, MD5 of the NoisyStudent ones; with the
# classifier, without it. Source: qubvel/efficientnet, weights.py.
_QUBVEL = {
    "autoaugment": {
        "b0": (
            "163292582f1c6eaca8e7dc7b51b01c615b0dbc0039699b4dcd0b975cc21533dc",
            "c1421ad80a9fc67c2cc4000f666aa50789ce39eedb4e06d531b0c593890ccff3",
        ),
        "b1": (
            "d0a71ddf51ef7a0ca425bab32b7fa7f16043ee598ecee73fc674d9560c8f09b0",
            "75de265d03ac52fa74f2f510455ba64f9c7c5fd96dc923cd4bfefa3d680c4b68",
        ),
        "b2": (
            "bb5451507a6418a574534aa76a91b106f6b605f3b5dde0b21055694319853086",
            "433b60584fafba1ea3de07443b74cfd32ce004a012020b07ef69e22ba8669333",
        ),
        "b3": (
            "03f1fba367f070bd2545f081cfa7f3e76f5e1aa3b6f4db700f00552901e75ab9",
            "c5d42eb6cfae8567b418ad3845cfd63aa48b87f1bd5df8658a49375a9f3135c7",
        ),
        "b4": (
            "98852de93f74d9833c8640474b2c698db45ec60690c75b3bacb1845e907bf94f",
            "7942c1407ff1feb34113995864970cd4d9d91ea64877e8d9c38b6c1e0767c411",
        ),
        "b5": (
            "30172f1d45f9b8a41352d4219bf930ee3339025fd26ab314a817ba8918fefc7d",
            "9d197bc2bfe29165c10a2af8c2ebc67507f5d70456f09e584c71b822941b1952",
        ),
        "b6": (
            "f5270466747753485a082092ac9939caa546eb3f09edca6d6fff842cad938720",
            "1d0923bb038f2f8060faaf0a0449db4b96549a881747b7c7678724ac79f427ed",
        ),
        "b7": (
            "876a41319980638fa597acbbf956a82d10819531ff2dcb1a52277f10c7aefa1a",
            "60b56ff3a8daccc8d96edfd40b204c113e51748da657afd58034d54d3cec2bac",
        ),
    },
    "noisy-student": {
        "b0": ("5e376ca93bc6ba60f5245d13d44e4323", "a5b48ae7547fc990c7e4f3951230290d"),
        "b1": ("79d29151fdaec95ac78e1ca97fc09634", "4d35baa41ca36f175506a33918f7e334"),
        "b2": ("8c643222ffb73a2bfdbdf90f2cde01af", "e496e531f41242598288ff3a4b4199f9"),
        "b3": ("3b29e32602dad75d1f575d9ded00f930", "47da5b154de1372b557a65795d3e6135"),
        "b4": ("c000bfa03bf3c93557851b4e1fe18f51", "47c10902a4949eec589ab92fe1c35ed8"),
        "b5": ("8a920cd4ee793f53c251a1ecd3a5cee6", "4d53ef3544d4114e2d8080d6d777a74c"),
        "b6": ("cc69df409516ab57e30e51016326853e", "71f96d7e15d9f891f3729b4f4e701f77"),
        "b7": ("1ac825752cbc26901c8952e030ae4dd9", "e112b00c464fe929b821edbb35d1af55"),
    },
}
_QUBVEL_URLS = {
    "autoaugment": "https://github.com/Callidior/keras-applications/releases/download/"
    "efficientnet/efficientnet-{}_weights_tf_dim_ordering_tf_kernels_autoaugment{}.h5",
    "noisy-student": "https://github.com/qubvel/efficientnet/releases/download/v0.0.1/"
    "efficientnet-{}_noisy-student{}.h5",
}


def _keras_applications(short: str, include_top: bool) -> WeightFile:
    key, size = key_and_size(short)
    suffix = "" if include_top else "_notop"
    return WeightFile(
        family="imagenet",
        publisher="keras",
        variant=key,
        include_top=include_top,
        url="https://storage.googleapis.com/keras-applications/"
        f"efficientnet{short}{suffix}.h5",
        checksum=f"md5:{_KERAS_APPLICATIONS[short][not include_top]}",
        normalization="imagenet",
        resolution=size,
        top1=TPU_TOP1["autoaugment"][short],
        top1_source="tensorflow/tpu, AutoAugment",
        source="keras.applications, from tensorflow/tpu's AutoAugment checkpoints",
    )


def _qubvel(family: str, short: str, include_top: bool) -> WeightFile:
    key, size = key_and_size(short)
    digest = _QUBVEL[family][short][not include_top]
    algorithm = "sha256" if len(digest) == 64 else "md5"
    return WeightFile(
        family=family,
        publisher="qubvel",
        variant=key,
        include_top=include_top,
        url=_QUBVEL_URLS[family].format(short, "" if include_top else "_notop"),
        checksum=f"{algorithm}:{digest}",
        normalization="imagenet",
        resolution=size,
        top1=TPU_TOP1[family][short],
        top1_source="tensorflow/tpu, of the same checkpoint",
        source="qubvel/efficientnet, from tensorflow/tpu's checkpoints",
        # The other files are in another author's repository, which states no licence.
        licence="Apache-2.0" if family == "noisy-student" else "unknown",
    )


def _tpu(family: str, short: str) -> WeightFile:
    key, size = key_and_size(short)
    return WeightFile(
        family=family,
        publisher="tpu",
        variant=key,
        include_top=True,
        url=f"{_TPU_ROOT}/{_TPU_PATHS[family].format(short)}",
        checksum=None,
        normalization=tpu_normalization(family, short),
        resolution=L2_475 if family == "noisy-student-475" else size,
        top1=TPU_TOP1[family][short],
        top1_source="tensorflow/tpu",
        source="tensorflow/tpu, the original checkpoints",
    )


def tpu_normalization(family: str, short: str) -> str:
    """Returns how tensorflow/tpu normalised the input, as a `NORMALIZATIONS` key."""
    if family == "advprop":
        return "inception"
    return "lite" if short.startswith("lite") else "imagenet"


KERAS_FILES = tuple(
    _keras_applications(short, include_top)
    for include_top in (True, False)
    for short in _KERAS_APPLICATIONS
)
QUBVEL_FILES = tuple(
    _qubvel(family, short, include_top)
    for family, rows in _QUBVEL.items()
    for include_top in (True, False)
    for short in rows
)
TPU_FILES = tuple(
    _tpu(family, short) for family, rows in TPU_TOP1.items() for short in rows
)
