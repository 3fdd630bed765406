# Needs make and Python 3.11 or newer, nothing else: whatever runs here is installed into .venv from requirements/,
# with exact versions and hashes. PYTHON=… chooses the Python that .venv is made with.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test fuzz coverage attack mutants lab faults check lint types imports generated locked venv system-packages proto share lock format clean

python := .venv/bin/python
install = -m pip --disable-pip-version-check --quiet install

# A value in single quotes for the shell, as it was written: spaces, quotes and dollar signs survive.
quoted = '$(subst ','\'',$(value $(1)))'

# An environment whose Python has gone from this machine is made again.
$(shell for each in .venv .venv-fuzz .venv-mutants .venv-proto .venv-wormhole; do test -x $$each/bin/python || rm -rf $$each; done)

help: ## list these targets
	@echo 'make TARGET'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | awk -F'|' '{ printf "%-12s %s\n", $$1, $$2 }'

demo: .venv/.runtime ## two peers meet, talk and send a file (FILE=… sends your own)
	@$(python) scripts/demo.py $(if $(value FILE),$(call quoted,FILE))

test: system-packages .venv/.dev ## run the tests (ARGS='-k offer' goes to pytest)
	@.venv/bin/pytest $(ARGS)

coverage: system-packages .venv/.dev ## run the tests, say how much of the code they reach, fail below the bounds
	@.venv/bin/coverage erase
	@.venv/bin/coverage run -m pytest $(ARGS)
	@.venv/bin/coverage combine --quiet
	@.venv/bin/coverage json --quiet -o .coverage.d/report.json
	@$(python) scripts/coverage-bounds .coverage.d/report.json

attack: system-packages .venv/.dev ## attack both programs: what was tried, what came of it (ARGS='-k mediator')
	@.venv/bin/pytest --quiet tests/attack $(ARGS)

mutants: .venv-mutants/.installed ## does a test fail for every fault put into the key proof and the path checks? (ARGS=proof)
	@nice -n 19 .venv-mutants/bin/python -m tests.mutants $(ARGS)

lab: system-packages .venv/.dev ## every kind of network with every other: which path, how soon (ARGS='--tries 3 symmetric')
	@$(python) -m tests.lab $(ARGS)

faults: system-packages .venv/.dev ## real programs under 220 combinations of faults (ARGS='--seed 1234' repeats one)
	@$(python) -m tests.faults $(ARGS)

fuzz: .venv-fuzz/.installed ## look for bytes that a parser does not bear, guided by coverage (ARGS='--seconds 600 tokens')
	@PYTHONPATH=proto:core:server:peer .venv-fuzz/bin/python -m tests.fuzz $(ARGS)

check: lint types imports generated locked ## everything CI looks at before the tests

lint: .venv/.dev ## ruff: rules and formatting
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

types: .venv/.dev ## mypy, strict
	@.venv/bin/mypy --strict

imports: .venv/.dev ## import-linter: which package may know which
	@.venv/bin/lint-imports

generated: .venv-proto/.installed .venv/.runtime ## the committed protobuf code, completions and man pages are up to date
	@scripts/generate-proto --check
	@$(python) scripts/share --check

locked: .venv/bin/python ## the locks answer pyproject.toml as it is now
	@$(python) scripts/lock.py --check

format: .venv/.dev ## let ruff mend what it can
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

proto: .venv-proto/.installed ## make the Python code of proto/p2p_proto/*.proto again
	@scripts/generate-proto

share: .venv/.runtime ## make the completions and man pages in share/ again
	@$(python) scripts/share

lock: .venv/bin/python ## write requirements/*.txt again (UPGRADE=1 takes the newest versions)
	@$(python) scripts/lock.py $(if $(UPGRADE),--upgrade)

venv: .venv/.dev ## .venv with all that development needs

clean: ## remove the environments and all that was built or cached
	@rm -rf .coverage.d .fuzz .venv .venv-fuzz .venv-mutants .venv-proto .venv-wormhole build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache tests/lab/delaylink
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

system-packages:
	@scripts/system-packages

# One environment, two fillings: .runtime is enough for the demo, .dev holds that and the tools. A stamp is older than
# its lock only after the lock has changed, so a second run installs nothing.

.venv/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml .venv/bin/python
	@echo 'Installing Punchwire into .venv ...'
	@$(python) $(install) --require-hashes -r requirements/runtime.txt -r requirements/build.txt
	@$(python) $(install) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: requirements/dev.txt pyproject.toml .venv/bin/python
	@echo 'Installing Punchwire and its tools into .venv ...'
	@$(python) $(install) --require-hashes -r requirements/dev.txt
	@$(python) $(install) --no-deps --no-build-isolation --editable .
	@touch .venv/.runtime $@

# The fuzzer is a large wheel with a compiler's runtime in it, so it is not part of what everybody installs.
.venv-fuzz/.installed: requirements/fuzz.txt pyproject.toml .venv-fuzz/bin/python
	@.venv-fuzz/bin/python -c 'import sys; sys.exit(not (sys.platform == "linux" and (3, 11) <= sys.version_info < (3, 14)))' || \
	  { echo 'make fuzz needs atheris, which is built for Linux and Python 3.11 to 3.13 only'; exit 1; }
	@echo 'Installing Punchwire and its fuzzer into .venv-fuzz ...'
	@.venv-fuzz/bin/python $(install) --require-hashes -r requirements/fuzz.txt
	@touch $@

.venv-mutants/.installed: requirements/mutants.txt pyproject.toml .venv-mutants/bin/python
	@echo 'Installing what makes mutants into .venv-mutants ...'
	@.venv-mutants/bin/python $(install) --require-hashes -r requirements/mutants.txt
	@touch $@

.venv-proto/.installed: requirements/proto.txt .venv-proto/bin/python
	@echo 'Installing the protobuf compiler into .venv-proto ...'
	@.venv-proto/bin/python $(install) --require-hashes -r requirements/proto.txt
	@touch $@

# What benchmarks/transfer.py compares with; it makes this by itself.
.venv-wormhole/.installed: requirements/wormhole.txt .venv-wormhole/bin/python
	@echo 'Installing magic-wormhole into .venv-wormhole ...'
	@.venv-wormhole/bin/python $(install) --require-hashes -r requirements/wormhole.txt
	@touch $@

.venv/bin/python .venv-fuzz/bin/python .venv-mutants/bin/python .venv-proto/bin/python .venv-wormhole/bin/python:
	@scripts/make-venv $(@:/bin/python=)
