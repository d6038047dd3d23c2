# `make run` and `make test` need nothing but git, make and Python 3.11 or newer.

# The system's own, where it will do: distributions build it with profiles, which makes it
# a fifth faster than a Python that was built plainly.
IS_ENOUGH := -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell /usr/bin/python3 $(IS_ENOUGH) 2>/dev/null && echo /usr/bin/python3 || echo python3)
VENV := .venv/bin/python
TEST := $(VENV) -m scripts.test

.DEFAULT_GOAL := help
.PHONY: help install install-dev python-version packages test-packages run test test-quick test-fast test-db \
	test-jail test-runtimes test-guest test-page test-faults test-load test-cluster lint format type bench clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

run: packages .venv/installed ## Set up, start the server, run a first program (ONCE=1: then stop)
	@$(VENV) -m scripts.run_local $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

test: test-packages .venv/installed-dev ## Every test, with the servers they need (TIERS="fast db": these)
	@$(TEST) $(TIERS)

test-quick: .venv/installed-dev ## Style and the tests that take no time (under a minute)
	@$(TEST) style quick

test-fast: .venv/installed-dev ## Style, types and all tests that need no server
	@$(TEST) style types fast

test-db: .venv/installed-dev ## The tests on real PostgreSQL and Redis servers
	@$(TEST) db

test-jail: .venv/installed-dev ## Programs in real jails on this machine
	@$(TEST) jail

test-runtimes: .venv/installed-dev ## The self-test of every language
	@$(TEST) selftest

test-guest: .venv/installed-dev ## Jails on another kernel: cgroup v2, no root
	@$(TEST) guest

test-page: .venv/installed-dev ## The pages in a headless Chromium
	@$(TEST) page

test-faults: .venv/installed-dev ## Processes killed and stopped under load (ROUNDS=20 JOBS=3: more)
	@$(if $(ROUNDS),$(VENV) -m executions.tests.faults --rounds $(ROUNDS) --jobs $(or $(JOBS),1),$(TEST) fault)

test-load: .venv/installed-dev ## Many clients at once
	@$(TEST) load

test-cluster: .venv/installed-dev ## Programs in pods of the cluster that KUBECONFIG names
	@$(TEST) cluster

lint: .venv/installed-dev ## Style and layout
	@$(TEST) style

format: .venv/installed-dev ## Lay out the code
	$(VENV) -m ruff format . && $(VENV) -m ruff check --fix .

type: .venv/installed-dev ## Types, strict
	@$(TEST) types

bench: .venv/installed-dev ## Measure against the floors of this machine
	@$(VENV) -m bench $(BENCH)

install: packages .venv/installed ## Only set up
install-dev: test-packages .venv/installed-dev ## Only set up, for development

# RUNTIMES="python cpp" installs the toolchains of these languages instead of all.
python-version:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11 …")'

packages: python-version
	@$(PYTHON) -m scripts.system_packages run $(RUNTIMES)

test-packages: python-version
	@$(PYTHON) -m scripts.system_packages test

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	$(VENV) -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/installed-dev: requirements.txt requirements-dev.txt | .venv/bin/python
	$(VENV) -m pip install --disable-pip-version-check -r requirements-dev.txt
	@touch .venv/installed $@

clean: ## Remove what was set up and made here (also the local database)
	rm -rf .venv var staticfiles .mypy_cache .ruff_cache .pytest_cache .hypothesis
