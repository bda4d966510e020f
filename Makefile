# make quickstart: train, verify, export and classify, from nothing but Python and make.
# make test:       set up and run the tests.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := runs/digits
# Two processes, however many cores: each takes up to 5 GB in the largest networks.
PARALLEL := --numprocesses=2 --dist=worksteal
export TF_CPP_MIN_LOG_LEVEL ?= 3

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-all test-oracles lint format clean

help:
	@sed -n 's/^# //p' Makefile
	@echo "make test-all:   the slow tests too."
	@echo "make test-oracles: loaded weights against the projects they come from."
	@echo "make lint:       ruff and mypy.    make format: ruff."

# The stamps make a second run start at once: they are older than setup.py only
# when the requirements may have changed.
$(VENV)/.run: setup.py
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python must be 3.11 or later. Received: " + sys.version)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[cpu,train,export,weights,photos]"
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[cpu,train,export,weights,photos,test,lint]"
	@touch $@

SITE = $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
PHOTOS = $(SITE)/skimage/data/chelsea.png $(SITE)/skimage/data/coffee.png \
	$(SITE)/skimage/data/rocket.jpg $(SITE)/sklearn/datasets/images/flower.jpg \
	$(SITE)/matplotlib/mpl-data/sample_data/grace_hopper.jpg \
	examples/photos/panda.jpg examples/photos/koala.jpg examples/photos/jaguar.jpg

quickstart: $(VENV)/.run
	$(BIN)/python -m training.main --config=training/configs/digits.py --workdir=$(RUN)
	$(BIN)/python -m export.main --model=$(RUN) --formats=saved_model,tflite,tflite_int8
	$(BIN)/python -m export.predict EfficientNetLite0 --weights=imagenet $(PHOTOS)
	@echo "The run is in $(RUN); begin with $(RUN)/report.md."

test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL)

test-all: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL)

# The projects that weight files come from: 5 GB, so in an environment of their own.
ORACLES := .venv-oracles
PEERS := torch torchvision timm geffnet efficientnet-pytorch transformers efficientnet tf_keras

$(ORACLES)/.peers: setup.py
	test -x $(ORACLES)/bin/python || $(PYTHON) -m venv $(ORACLES)
	$(ORACLES)/bin/python -m pip install --quiet --disable-pip-version-check -e ".[cpu,safetensors]" pytest $(PEERS)
	@touch $@

# timm comes first: PyTorch's compiler ends a process that TensorFlow's is in already.
test-oracles: $(ORACLES)/.peers
	$(ORACLES)/bin/python -m pytest -p timm -W ignore tests/weights_oracles_test.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
