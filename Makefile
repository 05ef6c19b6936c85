# make demo     segment a synthetic head with a known lesion (or CASE=path) into demo/
# make test     all tests
# make check    format, lint and types
# make setup    only the environment; `PYTHON=` picks the interpreter, `TORCH_INDEX=` the index torch comes from,
#               e.g. TORCH_INDEX=https://download.pytorch.org/whl/cpu
PYTHON ?=
TORCH_INDEX ?=
CASE ?=

PY := .venv/bin/python
SLICER_PY := .venv-slicer/bin/python

# An interpreter counts only if it runs: version managers leave names on PATH that do nothing.
find_python = python=; for p in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3); do \
	  if "$$p" -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	  then python="$$p"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Expected Python 3.11, 3.12 or 3.13 with its venv module, found none. Install one, or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi

.PHONY: setup demo test test-engine test-slicer check format bench clean

setup: .venv/.ready

# torchvision must match torch, build and all, or it does not import: one source, one command.
.venv/.torch:
	@$(find_python); echo "Setting up .venv with $$("$$python" --version)"; "$$python" -m venv .venv
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)") "torch>=2.4" "torchvision>=0.19"
	@touch $@

.venv/.ready: .venv/.torch pyproject.toml
	$(PY) -m pip install --quiet -e ".[dev]"
	@touch $@

# Slicer's own MRML without Qt; no torch, so that it never loads in Slicer's process.
.venv-slicer/.ready: Makefile
	@$(find_python); "$$python" -m venv .venv-slicer
	$(SLICER_PY) -m pip install --quiet --upgrade pip
	$(SLICER_PY) -m pip install --quiet slicer-core==5.12.4.0 "numpy>=1.26" "pytest>=8.0" "SimpleITK>=2.4" "pydicom>=3.0" "pillow>=10.3"
	@touch $@

demo: .venv/.ready
	$(PY) -m medtl.demo --output demo $(if $(CASE),--case "$(CASE)")

test: test-engine test-slicer

test-engine: .venv/.ready
	$(PY) -m pytest

test-slicer: .venv-slicer/.ready
	$(SLICER_PY) -m pytest Testing/slicer

check: .venv/.ready
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy medtl $(wildcard MedTLSegment/MedTLLib)

format: .venv/.ready
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: .venv/.ready
	@echo "Benchmarks, each run with $(PY) FILE:"
	@ls Testing/benchmarks/*.py 2>/dev/null || echo "none yet"

clean:
	rm -rf .venv .venv-slicer demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find medtl Testing -name __pycache__ -type d -prune -exec rm -rf {} +
