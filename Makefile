# Needs Python 3.11 or later and make; everything else is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/digits
QUIET := --quiet --disable-pip-version-check
# Two processes on any number of cores: the largest networks take 5 GB in each.
PARALLEL := --numprocesses=2 --dist=worksteal
export TF_CPP_MIN_LOG_LEVEL ?= 3

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all test-bazel test-wheel test-backends test-addons test-oracles benchmark benchmark-all docs lint format clean

# Prints each target with the text after ## in its line.
help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

# A stamp marks a finished installation, so that the next call starts at once. It is
# outdated when setup.py, with the requirements, changes.
$(VENV)/.run: setup.py
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python must be 3.11 or later. Received: " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(QUIET) -e ".[cpu,train,export,weights,photos]"
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install $(QUIET) -e ".[cpu,train,export,weights,photos,test,lint,docs]"
	@touch $@

SITE = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
PHOTOS = $(SITE)/skimage/data/chelsea.png $(SITE)/skimage/data/coffee.png \
	$(SITE)/skimage/data/rocket.jpg $(SITE)/sklearn/datasets/images/flower.jpg \
	$(SITE)/matplotlib/mpl-data/sample_data/grace_hopper.jpg \
	examples/photos/panda.jpg examples/photos/koala.jpg examples/photos/jaguar.jpg

quickstart: $(VENV)/.run ## train, verify, export and classify photos
	$(BIN)/python -m training.main --config=training/configs/digits.py --workdir=$(RUN)
	$(BIN)/python -m export.main --model=$(RUN) --formats=saved_model,tflite,tflite_int8
	$(BIN)/python -m export.predict EfficientNetLite0 --weights=imagenet $(PHOTOS)
	@echo "The run is in $(RUN); begin with $(RUN)/report.md."

test: $(VENV)/.dev ## run the tests that are not slow
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

test-all: $(VENV)/.dev ## run all tests
	$(BIN)/python -m pytest $(PARALLEL)

test-wheel: $(VENV)/.dev ## install the wheel and each extra into empty environments, and use them
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile \
		tests/repository/wheel_test.py tests/repository/extras_test.py

# PyTorch's own index, if it can be reached, has builds without CUDA. With less
# optimisation, XLA compiles in half the time.
.venv-backends/.run: setup.py
	$(PYTHON) -m venv .venv-backends
	.venv-backends/bin/python -m pip install $(QUIET) --no-deps --retries=1 --timeout=20 \
		--extra-index-url=https://download.pytorch.org/whl/cpu torch==2.13.0 torchvision==0.28.0
	.venv-backends/bin/python -m pip install $(QUIET) -e ".[weights]" jax timm pytest \
		torch==2.13.0 torchvision==0.28.0
	@touch $@

BACKEND_TESTS = tests/benchmarks/gpu_test.py $(addprefix tests/keras_efficientnet/, \
	augmentation/backends_test.py backends_test.py callbacks cost/model_cost_test.py \
	explain/activation_maps_test.py loading_test.py optimizers saving_test.py \
	schedules_test.py transfer_test.py weights/load_test.py)

test-backends: export XLA_FLAGS = --xla_backend_optimization_level=0
test-backends: .venv-backends/.run ## test the library on JAX and PyTorch, without TensorFlow
	KERAS_BACKEND=torch .venv-backends/bin/python -m pytest -m "not slow" $(BACKEND_TESTS)
	KERAS_BACKEND=jax .venv-backends/bin/python -m pytest -m "not slow" $(BACKEND_TESTS)

.venv-addons/.run: setup.py
	$(PYTHON) -m venv .venv-addons
	.venv-addons/bin/python -m pip install $(QUIET) -e ".[addons]" pytest
	@touch $@

test-addons: .venv-addons/.run ## test the library on Keras 2.15 with TensorFlow Addons
	.venv-addons/bin/python -m pytest -m "not slow" tests/addons tests/keras_efficientnet/backends_test.py

# Bazel uses the first python on PATH and its packages.
test-bazel: export PATH := $(CURDIR)/$(BIN):$(PATH)
test-bazel: $(VENV)/.dev ## build everything with Bazel and run the fast tests
	.ci/bazel build //...
	.ci/bazel test --config=fast //...

# PyTorch takes part if .venv-backends exists.
TORCH = $(wildcard .venv-backends/bin/python)

benchmark: $(VENV)/.dev ## compare inference in every runtime with the committed results
	$(BIN)/python -m benchmarks.inference $(TORCH:%=--torch_python=%) \
		--output=runs/benchmark.json

benchmark-all: benchmark ## the same, and batch prediction of up to a million images
	$(BIN)/python -m benchmarks.batch.throughput $(TORCH:%=--torch_python=%)
	$(BIN)/python -m benchmarks.batch.scaling --images=1000,10000,100000,1000000

docs: $(VENV)/.dev ## build the documentation site in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The projects that publish weight files take 5 GB, hence a separate environment.
ORACLES := .venv-oracles
PEERS := torch torchvision timm geffnet efficientnet-pytorch transformers efficientnet tf_keras

$(ORACLES)/.peers: setup.py
	test -x $(ORACLES)/bin/python || $(PYTHON) -m venv $(ORACLES)
	$(ORACLES)/bin/python -m pip install $(QUIET) -e ".[cpu,hub]" pytest $(PEERS)
	@touch $@

# timm is imported first: after TensorFlow, PyTorch's compiler crashes the process.
test-oracles: $(ORACLES)/.peers ## compare loaded weights with the projects that publish them
	$(ORACLES)/bin/python -m pytest -p timm -W ignore tests/keras_efficientnet/weights/oracles_test.py

lint: $(VENV)/.dev ## run ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev ## apply ruff's fixes and formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## delete build outputs and caches
	rm -rf build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
