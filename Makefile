# One command for each thing one does. Everything installs what it needs into .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-torch test-formats test-browser sliders notebooks notebook-pairs fuzz mutants check lint types layers fix bench fidelity fidelity-history docs site traces clean

help: ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

COMPILED := $(shell sed -n '/hooks.custom\]/,/^]/s/^ *"\(.*\)",.*/\1/p' pyproject.toml | sed 's|\.|/|g; s|$$|.py|')

$(STAMP)-%: pyproject.toml hatch_build.py $(COMPILED)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing hiersim with what '$*' needs into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e "$(if $(filter run,$*),.,.[$*])"
	@touch $@ $(if $(filter dev,$*),$(STAMP)-test) $(if $(filter dev test,$*),$(STAMP)-run)

demo: $(STAMP)-run ## two real models, eager and compiled, on A100 and H100
	@$(BIN)/hiersim demo --out out/demo

test: $(STAMP)-test ## all tests that need no PyTorch, JAX, ONNX, Jupyter or browser
	@$(BIN)/python -m pytest -m "not torch and not jax and not onnx and not browser and not perfetto and not notebooks" -n $(JOBS) -q

test-torch: $(STAMP)-test ## the tests of the PyTorch capture; installs the extras torch, hf and timm
	@$(BIN)/python -c "import torch" 2>/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@$(BIN)/python -c "import transformers, importlib.util as i; i.find_spec('timm') or exit(1)" 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check "transformers>=5.18" "timm>=1.0.20" torch==2.13.0
	@$(BIN)/python -m pytest -m torch -n $(JOBS) --dist loadgroup -q

test-formats: $(STAMP)-test ## the tests of JAX and ONNX models; installs the extras jax and ort
	@$(BIN)/python -c "import jax, onnx, onnxruntime" 2>/dev/null || \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check "jax>=0.7" "onnx>=1.17" "onnxruntime>=1.20"
	@$(BIN)/python -m pytest -m "jax or onnx" -n $(JOBS) --dist loadgroup -q

test-browser: $(STAMP)-browser ## the report in Chromium by eye of axe-core, timelines in Perfetto's trace processor (needs chromium and npm)
	@$(BIN)/python -m pytest -m "browser or perfetto" -q

sliders: $(STAMP)-browser ## how long a move of hs.explore takes in JupyterLab, from the key to the picture (needs chromium)
	@$(BIN)/python -m benchmarks.sliders

notebooks: $(STAMP)-test $(STAMP)-notebooks ## run the notebooks, and hold them to what they say
	@$(BIN)/python -m pytest -m notebooks -n $(JOBS) -q

notebook-pairs: $(STAMP)-notebooks ## bring each notebook and its script into step: the newer one is taken; outputs are removed
	@cd notebooks && for script in *.py; do ../$(BIN)/jupytext --quiet --sync "$$script"; done
	@$(BIN)/python tests/notebooks/strip.py notebooks/*.ipynb

fuzz: $(STAMP)-test ## broken files of every format: are they read, or refused in one line? (CASES=20000)
	@$(BIN)/python tests/fuzz --cases $(or $(CASES),20000)

mutants: $(STAMP)-mutation ## which small changes of the engine core no test would notice, into out/mutation (hours; SAMPLE=400: minutes)
	@$(BIN)/python tests/mutation --jobs $(JOBS) --sample $(or $(SAMPLE),0)

check: lint types layers test ## exactly what guards every change

lint: $(STAMP)-dev ## style and format of the source
	@$(BIN)/ruff check hiersim tests benchmarks
	@$(BIN)/ruff format --check hiersim tests benchmarks

types: $(STAMP)-dev ## mypy, strict
	@$(BIN)/mypy

layers: $(STAMP)-dev ## imports point downward only
	@$(BIN)/lint-imports

fix: $(STAMP)-dev ## mend style and format
	@$(BIN)/ruff check --fix hiersim tests benchmarks
	@$(BIN)/ruff format hiersim tests benchmarks

bench: $(STAMP)-run ## how fast it is, into out/bench; HIERSIM_PEERS_PYTHON names an interpreter that has peers
	@$(BIN)/python -m benchmarks --out out/bench

fidelity: $(STAMP)-test ## as close to measured devices as before? A sample of every class, in less than a minute
	@$(BIN)/python -m pytest tests/fidelity -q

fidelity-history: $(STAMP)-run ## the error table at each commit that changed it, from git
	@$(BIN)/python -m benchmarks.fidelity_history > docs/fidelity-history.md.new && mv docs/fidelity-history.md.new docs/fidelity-history.md

docs: $(STAMP)-run ## the pages that are made from the source
	@$(BIN)/python -m hiersim.views.reference

site: $(STAMP)-docs ## the documentation as a site, into out/site
	@$(BIN)/sphinx-build -q -W --keep-going -j auto docs out/site

traces: $(STAMP)-run ## capture all bundled traces again (needs the torch extra)
	@$(BIN)/hiersim capture bundled --out traces

clean: ## everything that was made
	rm -rf $(VENV) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
