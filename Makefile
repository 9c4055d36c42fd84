# Everything from python3 and make alone: the first target that needs it builds .venv with uv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
UV := $(BIN)/uv
PACKAGES := coda_voice memory tools integrations scripts tests
# Some containers set it; then every start compiles all that it imports: 26 s of CPU instead of 11
# for a server.
unexport PYTHONDONTWRITEBYTECODE
# Sound takes its time, also in tests: where there is memory for it (4 GB each) a third one of them
# uses the cores while the others wait.
TEST_WORKERS ?= $(shell awk '/MemAvailable/ { print ($$2 > 14e6) ? 3 : 2 }' /proc/meminfo 2>/dev/null || echo 2)

.DEFAULT_GOAL := help
.PHONY: help setup demo test pytest check format soak soak-hour soak-server soak-memory test-llm fuzz bench train-tiny wheel clean

help:  ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "coda-voice needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet uv
	@echo "setting up $(VENV) (torch with its CUDA libraries is about 7 GB; later environments are quick)"
	@$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev,train]'
	@touch $@

setup: $(STAMP)  ## make .venv with everything in it

demo: $(STAMP)  ## a spoken conversation with coda-tiny; leaves conversation.wav and .png
	$(BIN)/coda-voice demo

test: $(STAMP)  ## everything that must hold (at most 15 minutes on two cores)
	scripts/install_browser.sh
	@# The first test takes five minutes and mostly waits; mypy fits in beside it.
	$(MAKE) --no-print-directory --jobs 2 check pytest

pytest: $(STAMP)
	$(BIN)/python -m pytest -m "not soak and not real_llm" --numprocesses $(TEST_WORKERS) --dist loadfile \
	  --no-loadscope-reorder  # files in their order: the longest first, not those of the most tests

check: $(STAMP)  ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=memory:tools:integrations $(BIN)/lint-imports --no-cache

format: $(STAMP)  ## put the code into its format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

soak: soak-hour soak-server soak-memory  ## the long runs: an hour through one slot, visitors, memory

soak-hour: $(STAMP)  ## an hour through one slot, as fast as it goes (HOURS=1)
	CODA_SOAK_HOURS=$(or $(HOURS),1) $(BIN)/python -m pytest -m soak --timeout 7200 -s tests/soak/test_hour.py

soak-server: $(STAMP)  ## eight conversations coming and going on a server (MINUTES=120)
	CODA_SOAK_MINUTES=$(or $(MINUTES),120) $(BIN)/python -m pytest -m soak -s tests/soak/test_visitors.py

soak-memory: $(STAMP)  ## writers killed a hundred times, ten thousand queries with ids made to break filters
	$(BIN)/python -m pytest -m soak --timeout 7200 -s tests/integration/test_memory_faults.py tests/integration/test_memory_store.py

test-llm: $(STAMP)  ## against a real LLM: CODA_REAL_LLM=ollama/qwen3:8b, CODA_REAL_LLM_ENDPOINT=URL
	$(BIN)/python -m pytest -m real_llm tests/real_llm

fuzz: $(STAMP)  ## a million inputs for every codec (an hour)
	$(BIN)/python -m scripts.fuzz_properties
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[fuzz]'
	$(BIN)/python scripts/fuzz_codecs.py --inputs 1000000

bench: $(STAMP)  ## benchmarks; tables here, JSON under benchmarks/
	$(BIN)/python scripts/benchmark_engine.py
	$(BIN)/python scripts/benchmark_voice_latency.py
	$(BIN)/python scripts/benchmark_server.py
	$(BIN)/python scripts/benchmark_hybrid.py
	$(BIN)/python -m scripts.benchmark_hybrid_voice
	$(BIN)/python scripts/benchmark_memory.py
	$(BIN)/python -m scripts.benchmark_memory_voice

train-tiny: $(STAMP)  ## train coda-tiny from nothing (hours on a CPU; resumable)
	nice -n 19 $(BIN)/python -m scripts.train_tiny.run

wheel: $(STAMP)  ## build the wheel into dist/
	$(BIN)/python -m build --no-isolation --wheel

clean:  ## remove what was built
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache conversation.wav conversation.png conversation.json
