.DEFAULT_GOAL := help
# `make demo` and `make test` do all set-up themselves; `make help` lists everything.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
TESTED := $(VENV)/.installed-for-tests
BUDGET ?= 24h
SCALE  ?= 1.0
CARD   ?= rtx4090
export HF_HUB_OFFLINE ?= 1
export AXOLOTL_DO_NOT_TRACK = 1
export DO_NOT_TRACK = 1

.PHONY: need-inputs need-flash-attn need-run help install install-tests demo test test-fast faults check lint types reference curate-200k curate-400k curate-700k train-4090 train-a100 reproduce-birbal pick serve helm image-test clean

help: ## this list
	@grep -hE '^[a-z0-9 -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 40

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or 3.12 found. Install one, or pass PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
	  { echo "$(PYTHON) is not Python 3.11 or 3.12. Pass PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[curate,train,serve,eval]'
	@touch $@

$(TESTED): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray,dev]'
	@touch $@

install: $(READY) ## make .venv with what the commands need

install-tests: $(TESTED) ## the same, with what the tests need

demo: $(READY) ## the main job on embedded defaults, offline, on the CPU: about 4 minutes
	$(BIN)/oneday demo

IN_TWO = $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

test: $(TESTED) ## all tests, on two processes; those that measure time follow alone
	$(IN_TWO) -m "not timed"
	$(BIN)/python -m pytest -m timed

test-fast: $(TESTED) ## the tests that need neither a training nor a measured time: about a minute
	$(IN_TWO) -m "not timed and not slow"

faults: $(TESTED) ## kills and breaks runs at 25 moments and more, five with the real Axolotl: about 10 minutes
	$(BIN)/python -m tests.harness.faults --real

lint: $(TESTED) ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TESTED) ## mypy, strict
	$(BIN)/mypy

check: lint types test ## what CI runs

reference: $(READY) ## docs/reference.md from the code; `make test` compares them
	$(BIN)/python -m oneday.reference > docs/reference.md

curate-200k curate-400k curate-700k: curate-%: need-inputs $(READY) ## the paper's mix from NI_TASKS with BASE_MODEL
	$(BIN)/oneday curate --mix $* --scale $(SCALE) --tasks "$(NI_TASKS)" --base "$(BASE_MODEL)" --run runs/$* $(if $(WITHOUT),--without "$(WITHOUT)") $(ARGS)

need-inputs:
	@test -n "$(NI_TASKS)" || { echo "set NI_TASKS to the folder of NI task files: make $(MAKECMDGOALS) NI_TASKS=natural-instructions/tasks BASE_MODEL=models/Mistral-7B-v0.1"; exit 2; }
	@test -n "$(BASE_MODEL)" || { echo "set BASE_MODEL to the folder of the base model: make $(MAKECMDGOALS) NI_TASKS=$(NI_TASKS) BASE_MODEL=models/Mistral-7B-v0.1"; exit 2; }

need-run:
	@test -n "$(RUN)" || { echo "set RUN to a run folder: make $(MAKECMDGOALS) RUN=runs/200k"; exit 2; }

TRAIN = $(BIN)/oneday train --budget $(BUDGET) $(if $(MIX),--mix "$(MIX)") $(if $(BASE_MODEL),--base "$(BASE_MODEL)") $(ARGS)

train-4090: $(READY) ## train on a 24 GB RTX 4090 from MIX with BASE_MODEL; ARGS=--dry-run prints what it would do
	$(TRAIN) --config axolotl_configs/mistral_7b_qlora_4090.yml --card rtx4090

train-a100: $(READY) ## train on an A100 40GB from MIX with BASE_MODEL; ARGS=--dry-run prints what it would do
	$(TRAIN) --config axolotl_configs/mistral_7b_qlora_a100_40gb.yml --card a100-40gb

need-flash-attn: $(READY)
	@case "$(ARGS)" in *--dry-run*) ;; *) $(BIN)/python -c "import flash_attn" 2>/dev/null || \
	  { echo "the winner's recipe needs the flash-attn package: $(BIN)/pip install flash-attn (CUDA), or ARGS=--dry-run"; exit 2; } ;; esac

reproduce-birbal: need-inputs need-flash-attn $(READY) ## the winner's day: data by the paper, recipe, 24 h, pick; CARD=a100-40gb; ARGS=--dry-run
	$(BIN)/oneday curate --preset birbal-paper --task-list birbal --mix 200k --scale $(SCALE) --tasks "$(NI_TASKS)" --base "$(BASE_MODEL)" --run runs/birbal $(if $(WITHOUT),--without "$(WITHOUT)") $(ARGS)
	$(BIN)/oneday train --mix runs/birbal/05_mix --base "$(BASE_MODEL)" --budget $(BUDGET) --card $(CARD) --config axolotl_configs/birbal_$(if $(filter a100-40gb,$(CARD)),a100_40gb,4090).yml $(ARGS)
	$(BIN)/oneday pick runs/birbal $(ARGS)

pick: need-run $(READY) ## pick the best checkpoint of RUN; ARGS="--time 10m --average 3", or --dry-run
	$(BIN)/oneday pick "$(RUN)" $(ARGS)

serve: need-run $(READY) ## serve the picked checkpoint of RUN
	$(BIN)/oneday serve --checkpoint "$(RUN)" $(ARGS)

GSM8K ?= $(wildcard ../shared/data/gsm8k)

helm: $(READY) ## the real HELM, in .helm, against our server on runs/demo, with GSM8K if at hand; ARGS="--suite open"
	$(BIN)/oneday helm $(if $(GSM8K),--gsm8k "$(GSM8K)") $(ARGS)

image-test: $(TESTED) ## both images of the Dockerfile built and used with buildah, on a CPU; as root, about 20 minutes
	test -f runs/demo/10_scores/comparison.json || $(BIN)/oneday demo
	$(BIN)/python -m tests.image $(ARGS)

clean: ## remove .venv, .helm and runs
	rm -rf $(VENV) .helm runs
