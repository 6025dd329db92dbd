# make setup       the environment in .venv, everything but mmcv's compiled ops
# make setup-full  adds mmcv with ops (built once, then cached) and mmdet
# make demo        a pretrained ViT teaches a small Adventurer, on drawn scenes, in work_dirs/demo
# make demo-adala  a pretrained ViT takes Mamba-2 mixers, aligned by both stages of ViT-AdaLA
# make demo-offline, demo-adala-offline  ViT-Linearizer and ViT-AdaLA from a small teacher that is
#                  trained on the drawn scenes first: need nothing but what setup installs
# make test        the test suite, in WORKERS processes of one thread each
# make test-transformers  weights of Hugging Face's networks and mamba-ssm's kernels, with transformers 4 in
#                  a folder of its own
# make docs        the documentation site in docs/_build/html (Python 3.11 or newer)
# make lint        ruff, and import-linter: imports of the package go down
PYTHON ?= python3
WORKERS ?= 2
VENV ?= .venv
BIN := $(VENV)/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup setup-full demo demo-offline demo-adala demo-adala-offline docs test \
	test-transformers lint clean
.DELETE_ON_ERROR:

setup: $(VENV)/.setup

$(VENV)/.setup: pyproject.toml setup.py requirements/lock.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; \
	  sys.exit(0 if (3, 10) <= v <= (3, 12) else f"mmvitlin needs Python 3.10 to 3.12, {sys.executable} is {v[0]}.{v[1]}; run: make PYTHON=python3.11")'
	@echo "== setup 1/3: a virtual environment in $(VENV)"
	$(PYTHON) -m venv $(VENV)
	@echo "== setup 2/3: torch, timm and the OpenMMLab libraries (about 5 GB, one to three minutes)"
	$(BIN)/python -m pip install -q --no-deps "setuptools>=80,<81" wheel
	MMCV_WITH_OPS=0 $(BIN)/python -m pip install -q --no-deps --no-cache-dir $$(grep '^onedl-mmcv==' requirements/lock.txt)
	$(BIN)/python -m pip install -q --no-deps -r requirements/lock.txt
	@echo "== setup 3/3: mmvitlin itself"
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@echo "== setup done; for the tools: . $(VENV)/bin/activate"
	@touch $@

setup-full: $(VENV)/.setup-full

$(VENV)/.setup-full: $(VENV)/.setup requirements/lock-det.txt
	@echo "== setup-full 1/2: mmcv's compiled ops (from the cache, or ten to twenty minutes of building)"
	$(BIN)/python tools/build_mmcv_ops.py
	@echo "== setup-full 2/2: mmdet"
	$(BIN)/python -m pip install -q --no-deps -r requirements/lock-det.txt
	@touch $@

demo: setup
	@echo "== demo: eight minutes on two recent cores, eighteen on slow ones; progress below, results in work_dirs/demo"
	$(BIN)/python -W ignore tools/demo.py

demo-offline: setup
	@echo "== demo-offline: about fifteen minutes on two cores; results in work_dirs/demo-offline"
	$(BIN)/python -W ignore tools/demo.py --recipe configs/recipes/streets_demo.py --work-dir work_dirs/demo-offline

demo-adala: setup
	@echo "== demo-adala: twelve minutes on two recent cores, longer on slow ones; results in work_dirs/demo-adala"
	$(BIN)/python -W ignore tools/demo.py --recipe configs/recipes/streets_adala_pretrained.py --work-dir work_dirs/demo-adala

demo-adala-offline: setup
	@echo "== demo-adala-offline: about twelve minutes on two cores; results in work_dirs/demo-adala-offline"
	$(BIN)/python -W ignore tools/demo.py --recipe configs/recipes/streets_adala.py --work-dir work_dirs/demo-adala-offline

test: setup
	@echo "== test: the whole suite, 14 minutes on two recent cores, 35 on slow ones"
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test-transformers: setup
	MAMBA_FORCE_BUILD=TRUE MAMBA_SKIP_CUDA_BUILD=TRUE $(BIN)/python -m pip install -q --no-deps --no-build-isolation \
	  --upgrade --target $(VENV)/transformers -r requirements/transformers.txt
	PYTHONPATH=$(VENV)/transformers $(BIN)/python -m pytest -q tests/models/test_onnx_weights.py tests/models/test_key_mapping.py \
	  tests/ops/test_adapters.py tests/ops/test_package_kernels.py

docs: $(VENV)/.setup-docs
	@echo "== docs: warnings are errors; the site in docs/_build/html"
	$(BIN)/python -W ignore -m sphinx -q -W --keep-going -b html docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html

$(VENV)/.setup-docs: $(VENV)/.setup requirements/docs.txt
	$(BIN)/python -m pip install -q --no-deps -r requirements/docs.txt
	@touch $@

lint: setup
	$(BIN)/python -m ruff check .
	$(BIN)/lint-imports --no-logo --no-cache

clean:
	rm -rf $(VENV) build docs/_build *.egg-info
