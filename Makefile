# Remora: what a person does. Every target works on a clean clone; nothing needs to be done before.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
# The first Python of 3.11 or later. A shim that is on the PATH but has no interpreter behind it does not count.
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	"$$each" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$each"; break; }; done)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
# xds-protos ships outdated opentelemetry/proto/*_pb2.py over opentelemetry-proto's own: see
# docs/decisions/0001-two-owners-of-the-otlp-types.md. The bound is pyproject.toml's.
OTLP_TYPES = $(shell sed -n 's/^ *"\(opentelemetry-proto[^"]*\)".*/\1/p' pyproject.toml | head -1)

# Written where the environment says not to write byte code, too: every start of a process reads it.
BYTECODE = @$(BIN)/python -m compileall -q -j 0 mesh sidecar control collectors dashboards remora $(VENV)/lib/remora-compiled || true

# The data plane's hot modules become machine code where there is a C compiler; without, they are interpreted.
COMPILE = @command -v cc >/dev/null || { echo "No C compiler: the proxy's hot path stays interpreted. \
	apt-get install gcc python3-dev, then make compile, about halves its CPU." >&2; exit 0; }; \
	echo "Compiling the proxy's hot path (about a minute on two cores; once)"; \
	$(BIN)/python -m sidecar.compile || echo "The hot path could not be compiled and stays interpreted." >&2

# A second make, of another terminal, waits until the first has installed everything, and finds it done.
alone = +@$(MAKE) --question $(1) 2>/dev/null || flock "$(CURDIR)" $(MAKE) --no-print-directory $(1)

.PHONY: help setup setup-dev compile up test test-compiled test-e2e check fmt golden fuzz bench bench-collect bench-control profile clean

help: ## This list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

setup: ## Make .venv with the command at .venv/bin/remora
	$(call alone,$(VENV)/.installed)

setup-dev:
	$(call alone,$(VENV)/.installed-dev)

compile: setup ## Compile the proxy's hot path again, after a change of its sources; until then it runs interpreted
	$(BIN)/python -m sidecar.compile

up: setup ## Bring up the mesh on this machine, with its sample applications
	@exec $(BIN)/remora up

# Tests start real processes; a machine that is busy with something else at the wrong moment fails one. What failed is run
# once more by itself, in sight: a test that passes then is unsteady, and to be mended, but says nothing of the change.
pytest = { $(BIN)/python -m pytest $(1) || { status=$$?; [ $$status -eq 1 ] || exit $$status; \
	echo "What failed, once more by itself; whatever passes now is an unsteady test" >&2; \
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none $(1); }; }

test: setup-dev ## Run every test (ARGS="tests/remora -k up" for some)
	@$(call pytest,$(ARGS))
	@$(if $(ARGS),,$(MAKE) --no-print-directory test-compiled)

# What has code in the build, or runs it. The rest of tests/sidecar would do the same work a second time.
COMPILED_TESTS = $(addprefix tests/sidecar/,clusters filters http listeners net overload routing tap telemetry worker)

test-compiled: setup-dev ## Run the data plane's tests on the compiled hot path, if there is a build of these sources
	@if $(BIN)/python -c 'import sys, sidecar.compiled; sys.exit(sidecar.compiled.usable() is None)'; then \
		$(call pytest,-p tests.compiled $(wildcard $(COMPILED_TESTS))); \
	else echo "No build of these sources (make compile): the compiled hot path is not tested." >&2; fi

# Without KUBECONFIG, with the kube-apiserver that `python -m tests.e2e.api_server install` built: docs/e2e.md.
test-e2e: setup-dev ## Run the tests in a cluster against a real API server: KUBECONFIG's, which is changed, or a local one
	@REMORA_E2E=1 $(BIN)/python -m pytest tests/e2e -rs -s $(ARGS)

check: setup-dev ## Everything that CI checks: format, lint, types, layers, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(MAKE) --no-print-directory test

fmt: setup-dev ## Format the code and apply safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

golden: setup-dev ## Rewrite the golden files from what the code does now; read the diff before committing it
	$(BIN)/python -m pytest -q --update-golden tests/control tests/remora/inject tests/manifests/test_current.py
	@git --no-pager diff --stat -- tests manifests

# Atheris has wheels for some interpreters only; the parsers' other searches do without.
FUZZ_SECONDS ?= 600

fuzz: setup-dev ## Search the parsers for FUZZ_SECONDS (600) each, then let Hypothesis search far longer than in CI
	@$(PIP) --editable '.[fuzz]' || echo "No atheris for this Python: the search guided by coverage is left out." >&2
	@! $(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)
	$(BIN)/python -m pytest --hypothesis-profile=deep -m 'not mesh' $(ARGS)

bench: setup-dev compile ## Measure our sidecar beside Envoy, nginx and HAProxy; writes docs/benchmarks.md and build/bench.json
	$(BIN)/python -m tests.bench $(ARGS)

bench-collect: setup-dev ## Measure the collector beside rsyslog; writes docs/collecting.md when it could measure everything
	$(BIN)/python -m tests.bench.collect $(ARGS)

bench-control: setup-dev ## Measure the control plane with 5,000 pods and 1,000 services; writes docs/scale.md
	$(BIN)/python -m tests.bench.control $(ARGS)

profile: setup-dev compile ## Draw flame graphs of agent and worker under load into build/ (CASE=mtls2-100B for another case)
	@$(PIP) --editable '.[profile]'
	$(BIN)/python -m tests.bench.profile $(CASE) $(ARGS)

clean: ## Remove .venv and what tools left behind
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Remora needs Python 3.11 or later, and found none on the PATH." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { version="$$("$(PYTHON)" -c \
		'import sys; print("python%d.%d" % sys.version_info[:2])')"; \
		echo "$$version cannot make virtual environments here. On Debian and Ubuntu: apt-get install $$version-venv" >&2; \
		exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# The last thing that venv makes: missing where it was killed.
$(VENV)/bin/pip: | $(VENV)/bin/python
	$(BIN)/python -m ensurepip --default-pip

# The stamps make the second time quick. They depend on pyproject.toml: a changed dependency installs again.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/pip
	$(PIP) --editable '.[all,compile]'
	$(PIP) --force-reinstall --no-deps '$(OTLP_TYPES)'
	$(COMPILE)
	$(BYTECODE)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/pip
	$(PIP) --editable '.[all,compile,dev]'
	$(PIP) --force-reinstall --no-deps '$(OTLP_TYPES)'
	$(COMPILE)
	$(BYTECODE)
	@touch $@ $(VENV)/.installed
