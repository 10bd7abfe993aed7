.DEFAULT_GOAL := help
# `make demo` and `make test` install what they need; `make help` lists all targets.

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed
TEST_READY := $(VENV)/.installed-for-tests
BUDGET ?= 24h
SCALE  ?= 1.0
WITHIN ?= 15%
CARD   ?= rtx4090
export HF_HUB_OFFLINE ?= 1
export AXOLOTL_DO_NOT_TRACK = 1
export DO_NOT_TRACK = 1
# Debian's pip 23 builds a package without it by an old way that some no longer allow.
export PIP_USE_PEP517 = 1

.PHONY: need-inputs need-flash-attn need-run help install install-tests demo study-demo real real-scores test test-fast faults bench check lint types reference curate-200k curate-400k curate-700k train-4090 train-a100 reproduce-birbal pick serve helm export-test inspect-test image-test clean

help: ## list the targets
	@grep -hE '^[a-z0-9 -]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 40

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or 3.12 found. Install one, or pass PYTHON=/path/to/python3.11"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' || \
	  { echo "$(PYTHON) is not Python 3.11 or 3.12. Pass PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[curate,train,serve,eval]'
	@touch $@

$(TEST_READY): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[gguf,ray,spelling,dev]'
	@touch $@

install: $(READY) ## install what the commands need into .venv

install-tests: $(TEST_READY) ## also install what the tests need

demo: $(READY) ## run the whole chain with a tiny model, offline, on the CPU: about 4 minutes
	$(BIN)/oneday demo

REAL_TASKS ?= $(or $(NI_TASKS),../shared/data/natural-instructions/tasks)

real: $(READY) ## run the whole chain on real tasks with SmolLM2-135M: 2 hours on two cores (estimated); SCALE=0.1, RUN=runs/real
	$(BIN)/python -m benchmarks.real.chain --tasks "$(REAL_TASKS)" --run "$(or $(RUN),runs/real)" --scale $(SCALE)

real-scores: $(READY) ## HELM's simple suite, GSM8K and lm_eval on the model of `make real`, base against tuned; QUESTIONS=100
	$(BIN)/python -m benchmarks.real.scores --base runs/bases/smollm2-135m --tuned "$(or $(RUN),runs/real)/08_pick/adapter" --tasks "$(REAL_TASKS)" --state "$(or $(RUN),runs/real)-scores" --questions $(or $(QUESTIONS),100) $(if $(GSM8K),--gsm8k "$(GSM8K)")

study-demo: $(READY) ## run a study of five arms with the tiny model in runs/study-demo: 10 minutes on idle cores
	$(BIN)/python -m oneday.demo.study

# Without bytecode files every process that a test starts compiles the project again, and pytest every test file.
unexport PYTHONDONTWRITEBYTECODE

IN_TWO_PROCESSES = $(BIN)/python -m pytest -n 2 --dist loadgroup --no-loadscope-reorder

test: $(TEST_READY) ## run all tests in two processes, then the tests that measure time in one
	$(IN_TWO_PROCESSES) -m "not timed"
	$(BIN)/python -m pytest -m timed

test-fast: $(TEST_READY) ## run the tests that neither train nor measure time: about three minutes
	$(IN_TWO_PROCESSES) -m "not timed and not slow"

faults: $(TEST_READY) ## kill and break runs at 43 moments; train every objective, kind of weights and architecture
	$(BIN)/python -m tests.harness.faults --real
	$(BIN)/python -m tests.harness.combinations
	$(BIN)/python -m tests.harness.architectures

lint: $(TEST_READY) ## run ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TEST_READY) ## run mypy (strict)
	$(BIN)/mypy

bench: $(TEST_READY) ## measure the quick benchmarks again, and say what moved
	$(BIN)/python -m benchmarks.bench

check: lint types test ## run what CI runs

reference: $(READY) ## generate docs/reference.md from the code; `make test` compares them
	$(BIN)/python -m oneday.reference > docs/reference.md

curate-200k curate-400k curate-700k: curate-%: need-inputs $(READY) ## curate the paper's mix from NI_TASKS with BASE_MODEL; WITHIN=3h asks within a time, WITHIN= asks all
	$(BIN)/oneday curate --mix $* --scale $(SCALE) --tasks "$(NI_TASKS)" --base "$(BASE_MODEL)" --run runs/$* $(if $(WITHIN),--within $(WITHIN) --budget $(BUDGET)) $(if $(WITHOUT),--without "$(WITHOUT)") $(ARGS)

need-inputs:
	@test -n "$(NI_TASKS)" || { echo "set NI_TASKS to the folder of NI task files: make $(MAKECMDGOALS) NI_TASKS=natural-instructions/tasks BASE_MODEL=models/Mistral-7B-v0.1"; exit 2; }
	@test -n "$(BASE_MODEL)" || { echo "set BASE_MODEL to the folder of the base model: make $(MAKECMDGOALS) NI_TASKS=$(NI_TASKS) BASE_MODEL=models/Mistral-7B-v0.1"; exit 2; }

need-run:
	@test -n "$(RUN)" || { echo "set RUN to a run folder: make $(MAKECMDGOALS) RUN=runs/200k"; exit 2; }

TRAIN = $(BIN)/oneday train --budget $(BUDGET) $(if $(MIX),--mix "$(MIX)") $(if $(BASE_MODEL),--base "$(BASE_MODEL)") $(ARGS)

train-4090: $(READY) ## train on a 24 GB RTX 4090 from MIX with BASE_MODEL; ARGS=--dry-run prints the settings only
	$(TRAIN) --config axolotl_configs/mistral_7b_qlora_4090.yml --card rtx4090

train-a100: $(READY) ## train on an A100 40GB from MIX with BASE_MODEL; ARGS=--dry-run prints the settings only
	$(TRAIN) --config axolotl_configs/mistral_7b_qlora_a100_40gb.yml --card a100-40gb

need-flash-attn: $(READY)
	@case "$(ARGS)" in *--dry-run*) ;; *) $(BIN)/python -c "import flash_attn" 2>/dev/null || \
	  { echo "the winner's recipe needs the flash-attn package: $(BIN)/pip install flash-attn (CUDA), or ARGS=--dry-run"; exit 2; } ;; esac

reproduce-birbal: need-inputs need-flash-attn $(READY) ## repeat the winner's run: data by the paper, recipe, 24 h, pick; CARD=a100-40gb; ARGS=--dry-run
	$(BIN)/oneday curate --preset birbal-paper --task-list birbal --mix 200k --scale $(SCALE) --tasks "$(NI_TASKS)" --base "$(BASE_MODEL)" --run runs/birbal $(if $(WITHOUT),--without "$(WITHOUT)") $(ARGS)
	$(BIN)/oneday train --mix runs/birbal/05_mix --base "$(BASE_MODEL)" --budget $(BUDGET) --card $(CARD) --config axolotl_configs/birbal_$(if $(filter a100-40gb,$(CARD)),a100_40gb,4090).yml $(ARGS)
	$(BIN)/oneday pick runs/birbal $(ARGS)

pick: need-run $(READY) ## pick the best checkpoint of RUN; ARGS="--time 10m --average 3", or --dry-run
	$(BIN)/oneday pick "$(RUN)" $(ARGS)

serve: need-run $(READY) ## serve the picked checkpoint of RUN
	$(BIN)/oneday serve --checkpoint "$(RUN)" $(ARGS)

GSM8K ?= $(wildcard ../shared/data/gsm8k)

helm: $(READY) ## run the real HELM, in .helm, against the server on runs/demo, with GSM8K if available; ARGS="--suite open"
	$(BIN)/oneday helm $(if $(GSM8K),--gsm8k "$(GSM8K)") $(ARGS)

export-test: $(TEST_READY) ## write GGUF files and load them by llama.cpp, which is compiled into .llama once: about 15 minutes
	$(BIN)/python -m tests.programs llama.cpp
	$(BIN)/python -m pytest tests/submission/export/test_llama_cpp.py

inspect-test: $(TEST_READY) ## run the real Inspect, installed into .inspect once, against the server: about 3 minutes
	$(BIN)/python -m tests.programs inspect
	$(BIN)/python -m pytest tests/submission/server/test_inspect.py

image-test: $(TEST_READY) ## build and use both images of the Dockerfile with buildah, on a CPU; as root, about 20 minutes
	test -f runs/demo/10_scores/comparison.json || $(BIN)/oneday demo
	$(BIN)/python -m tests.image $(ARGS)

clean: ## remove .venv, .helm, .llama, .inspect and runs
	rm -rf $(VENV) .helm .llama .inspect runs
