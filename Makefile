# make demo     segment a synthetic head with a known lesion (or CASE=path) into demo/
# make test     all tests: the engine's (test-engine) and the Slicer side's on a stand-in for Slicer (test-slicer)
# make test-oldest    the engine's with the lowest versions that pyproject.toml allows on any system: those for Macs with
#               x86_64, PyTorch 2.1 with numpy 1.26 and MONAI 1.4, on Python 3.11, for which they have wheels everywhere
# make check    format, lint, spelling and types
# make audit    published faults of the tested versions, by pip-audit: it needs pypi.org's advisories
# make constraints    the files of tested versions with their hashes anew, from pyproject.toml
# make test-slicer-next    the Slicer side's on the next version of Slicer; both take MEDTL_SLICER_PYTHON=DIR, the
#               Base/Python folder of a Slicer source tree, to run on its real Python layer: see Testing/host/README.md
# make bench-nnunet    MedTL beside nnU-Net: NNUNET_MODELS=DIR has its results folders and CT=FILE is a CT volume;
#               nnunetv2 is installed into an environment of its own, or NNUNET_PYTHON=PATH is a Python that has it
# make test-in-slicer    the modules' self-tests in a real 3D Slicer, SLICER=PATH of its program; no PyTorch is needed.
#               make slicer-release downloads the release for Linux into build/slicer, make slicer-libraries installs
#               what it needs on Ubuntu. Used by .github/workflows; not run yet
# make setup    only the environment; `PYTHON=` picks the interpreter, `TORCH_INDEX=` the index torch comes from,
#               e.g. TORCH_INDEX=https://download.pytorch.org/whl/cpu
PYTHON ?=
TORCH_INDEX ?=
CASE ?=
NNUNET_PYTHON ?=
NNUNET_MODELS ?=
CT ?=
SLICER ?= build/slicer/Slicer
SLICER_URL ?= https://download.slicer.org/download?os=linux&stability=release

# Where a virtual environment has its programs.
BIN := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
PY := .venv/$(BIN)/python
SLICER_PY := .venv-slicer/$(BIN)/python
SLICER_NEXT_PY := .venv-slicer-next/$(BIN)/python
OLDEST_PY := .venv-oldest/$(BIN)/python
UV := .venv-supply/$(BIN)/uv
SLICER_PACKAGES := "PySide6-Essentials>=6.7" "numpy>=1.26" "pytest>=8.0" "SimpleITK>=2.5.7" "pydicom>=3.0.2" "pillow>=12.3" \
	"scipy>=1.11" packaging cmake jsonschema
# Tested versions with hashes: for users and Slicer, and with the tools of development. Without torch and what only it
# needs: these are installed first, in builds that differ by platform and index.
CONSTRAINTS := MedTLSegment/Resources/constraints.txt
DEV_CONSTRAINTS := Testing/constraints.txt
COMPILE = $(UV) pip compile pyproject.toml --quiet --universal --generate-hashes --no-annotate \
	--no-emit-package torch --no-emit-package torchvision --custom-compile-command "make constraints"
NNUNET_PY := $(or $(NNUNET_PYTHON),.venv-nnunet/$(BIN)/python)
# What the tests of the Slicer side run under: the worker that they start is the engine's, in its own environment.
SLICER_ENV := QT_QPA_PLATFORM=offscreen MEDTL_ENGINE_PYTHON=$(abspath $(PY))

# An interpreter counts only if it runs: version managers leave names on PATH that do nothing.
find_python = python=; for p in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3); do \
	  if "$$p" -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	  then python="$$p"; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Expected Python 3.11, 3.12 or 3.13 with its venv module, found none. Install one, or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi

.PHONY: setup demo test test-engine test-slicer test-slicer-next test-oldest check audit constraints format bench bench-nnunet clean \
	test-in-slicer slicer-release slicer-libraries

setup: .venv/.ready

# torchvision must match torch, build and all, or it does not import: one source, one command.
.venv/.torch:
	@$(find_python); echo "Setting up .venv with $$("$$python" --version)"; "$$python" -m venv .venv
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)") "torch>=2.8" "torchvision>=0.23"
	@touch $@

.venv/.ready: .venv/.torch pyproject.toml $(DEV_CONSTRAINTS)
	$(PY) -m pip install --quiet --no-deps --require-hashes -r $(DEV_CONSTRAINTS)
	$(PY) -m pip install --quiet --no-deps -e .
	$(PY) -m pip check
	@touch $@

.venv-supply/.ready:
	@$(find_python); "$$python" -m venv .venv-supply
	.venv-supply/$(BIN)/python -m pip install --quiet uv pip-audit
	@touch $@

# uv computes the versions: the lowest of what pyproject.toml names, and of what these need in turn the newest that fit.
.venv-oldest/.ready: .venv-supply/.ready pyproject.toml
	$(UV) venv --quiet --clear --seed --no-python-downloads --python "$(or $(PYTHON),3.11)" .venv-oldest
	$(UV) pip compile pyproject.toml --quiet --extra dev --resolution lowest-direct --only-binary :all: --no-annotate \
	  --no-header --python $(OLDEST_PY) --python-platform x86_64-apple-darwin --output-file .venv-oldest/versions.txt
	$(UV) pip install --quiet --no-config --python $(OLDEST_PY) -r .venv-oldest/versions.txt
	$(UV) pip install --quiet --no-config --python $(OLDEST_PY) --no-deps --editable .
	@touch $@

# Slicer's own MRML and Qt; no torch, so that it never loads in Slicer's process.
.venv-slicer/.ready: Makefile
	@$(find_python); "$$python" -m venv .venv-slicer
	$(SLICER_PY) -m pip install --quiet --upgrade pip
	$(SLICER_PY) -m pip install --quiet slicer-core==5.12.4.0 $(SLICER_PACKAGES)
	@touch $@

.venv-slicer-next/.ready: Makefile
	@$(find_python); "$$python" -m venv .venv-slicer-next
	$(SLICER_NEXT_PY) -m pip install --quiet --upgrade pip
	$(SLICER_NEXT_PY) -m pip install --quiet slicer-core==5.13.31053.0 $(SLICER_PACKAGES)
	@touch $@

# nnU-Net pins packages that MedTL has newer, and never enters MedTL's own environment.
.venv-nnunet/.ready: Makefile
	@$(find_python); "$$python" -m venv .venv-nnunet
	.venv-nnunet/$(BIN)/python -m pip install --quiet --upgrade pip
	.venv-nnunet/$(BIN)/python -m pip install --quiet $(if $(TORCH_INDEX),--index-url "$(TORCH_INDEX)") "torch>=2.8,!=2.9.*" torchvision
	.venv-nnunet/$(BIN)/python -m pip install --quiet nnunetv2==2.8.1
	@touch $@

demo: .venv/.ready
	$(PY) -m medtl.commands.demo --output demo $(if $(CASE),--case "$(CASE)")

test: test-engine test-slicer

test-engine: .venv/.ready
	$(PY) -m pytest

test-slicer: .venv-slicer/.ready .venv/.ready
	$(SLICER_ENV) $(SLICER_PY) -m pytest Testing/slicer

test-slicer-next: .venv-slicer-next/.ready .venv/.ready
	$(SLICER_ENV) $(SLICER_NEXT_PY) -m pytest Testing/slicer

# Old packages warn of what became deprecated after them: no fault here.
test-oldest: .venv-oldest/.ready
	$(OLDEST_PY) -m pytest -W default

# Each module's own test, as Slicer's ctest calls it; --testing installs nothing and asks nothing.
test-in-slicer:
	for module in MedTLSegment MedTLClassify; do \
	  xvfb-run -a "$(SLICER)" --testing --no-splash --no-main-window --disable-cli-modules \
	    --additional-module-paths "$(CURDIR)/MedTLSegment" "$(CURDIR)/MedTLClassify" \
	    --python-code "import slicer.testing; slicer.testing.runUnitTest(['$(CURDIR)/$$module'], '$$module')" || exit 1; \
	done

slicer-release:
	mkdir -p build/slicer
	curl --fail --location --silent --show-error --output build/slicer.tar.gz "$(SLICER_URL)"
	tar -xzf build/slicer.tar.gz --strip-components 1 -C build/slicer

slicer-libraries:
	sudo apt-get update
	sudo apt-get install --yes xvfb libglu1-mesa libpulse-mainloop-glib0 libnss3 libasound2t64 libxcb-icccm4 \
	  libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-xinerama0 libxkbcommon-x11-0

check: .venv/.ready
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m codespell_lib
	$(PY) -m mypy medtl $(wildcard MedTLSegment/MedTLLib MedTLClassify/MedTLClassifyLib)

# Without the index pip-audit finds nothing and says so: --strict makes that an error.
audit: .venv-supply/.ready
	.venv-supply/$(BIN)/pip-audit --strict --disable-pip --require-hashes -r $(DEV_CONSTRAINTS) || \
	  { echo "Faults are listed above, or the advisories of pypi.org could not be reached from here." >&2; exit 1; }

constraints: .venv-supply/.ready
	$(COMPILE) --upgrade --extra dev -o $(DEV_CONSTRAINTS)
	$(COMPILE) --constraint $(DEV_CONSTRAINTS) -o $(CONSTRAINTS)

format: .venv/.ready
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: .venv/.ready
	@echo "Benchmarks, each run with $(PY) FILE:"
	@ls Testing/benchmarks/*.py 2>/dev/null || echo "none yet"

bench-nnunet: .venv/.ready $(if $(NNUNET_PYTHON),,.venv-nnunet/.ready)
	$(PY) Testing/benchmarks/nnunet.py --nnunet $(NNUNET_PY) --models "$(NNUNET_MODELS)" --ct "$(CT)" --work build/nnunet

clean:
	rm -rf .venv .venv-slicer .venv-slicer-next .venv-supply .venv-nnunet .venv-oldest demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find medtl Testing -name __pycache__ -type d -prune -exec rm -rf {} +
