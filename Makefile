# Needs only make and Python 3.11 or newer. Installs everything into .venv, from the hashed versions in requirements/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LOCK := requirements/lock.txt
BUILD_LOCK := requirements/build.txt
DOCS_LOCK := requirements/docs.txt
DOCS_INSTALLED := $(VENV)/.docs-installed
RACE_LOCK := requirements/race.txt
RACE := $(VENV)-race
# The build for processors, without 4 GB of CUDA, at the version of the table in docs/performance.md. It is in the index of
# PyTorch, not in that of Python: let pip know where, by PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS.
TORCH ?= torch==2.13.0+cpu
# Versions with hashes, for every Python that clhd supports; the files name no index and no host.
COMPILE := pip compile --quiet --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--no-header --no-emit-index-url --upgrade
# pip need not compile all modules, which takes as long as the rest: Python compiles those that it imports, and keeps them.
# Images of containers often tell it to keep none; each of the 190 jobs of `make` would then compile its modules again.
INSTALL := -m pip install --quiet --no-compile --disable-pip-version-check
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := all
.PHONY: all reinstall help install paper report paper-assets paper-pdf test check docs chaos format bench race scaling figure lock clean

# The list of experiments; by default config/config.yaml. The shell takes its name from a variable: it may hold spaces.
CONFIG ?=
export CONFIG
# Snakemake needs a cache, in a home that can be written or else here.
CACHE := $${XDG_CACHE_HOME:-$$HOME/.cache}
HOMELESS := $(shell mkdir -p "$(CACHE)" 2>/dev/null && test -w "$(CACHE)" || echo yes)
# With -P, a yaml.py of the user in this folder is not taken for the library of that name.
# A process without threads can be forked, and then several processes look whether all is done.
SINGLE = OPENBLAS_NUM_THREADS="$${OPENBLAS_NUM_THREADS:-1}"
WORKFLOW = $(SINGLE) $(if $(HOMELESS),XDG_CACHE_HOME="$(CURDIR)/.snakemake/cache") $(BIN)/python -P -m snakemake $(if $(CONFIG),--configfile "$$CONFIG")

all: $(INSTALLED)  ## run the experiments of config/config.yaml: results/ (CONFIG=file for another list)
	@test -z "$$CONFIG" || test -f "$$CONFIG" || { echo "CONFIG=$$CONFIG: there is no such file" >&2; exit 2; }
	@$(WORKFLOW) $(ARGS)

paper: $(INSTALLED)  ## run the experiments of config/paper.yaml, at the scale of a paper, on a large machine
	@$(MAKE) --no-print-directory all CONFIG=config/paper.yaml

report: $(INSTALLED)  ## write results/report.html again from the existing results: claims, experiments, equations
	@$(BIN)/python -P -m clhd report $(if $(CONFIG),"$$CONFIG")

paper-assets: $(INSTALLED)  ## write results/latex: numbers, tables, figures and bibliography for a paper, from the results
	@$(BIN)/python -P -m clhd paper $(if $(CONFIG),"$$CONFIG")

paper-pdf: $(INSTALLED)  ## set paper/paper.tex with pdflatex, from results/latex alone: build/paper/paper.pdf
	@rm -rf build/paper && mkdir -p build/paper && cp paper/paper.tex build/paper
	@$(BIN)/python -P -m clhd paper $(if $(CONFIG),"$$CONFIG") >build/paper/written
	@cp -r "$$(dirname "$$(head -n 1 build/paper/written)")" build/paper/assets
	@cd build/paper && set -e && for command in pdflatex bibtex pdflatex pdflatex; do \
		$$command $$(test $$command = bibtex || echo -halt-on-error -interaction=batchmode) paper >/dev/null </dev/null || \
		{ tail -n 30 paper.log; exit 1; }; done
	@echo "build/paper/paper.pdf is the paper"

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */make \1\t/' | expand -t 20

install: $(INSTALLED)  ## create .venv and install clhd into it

# One process per core. Each begins with one part of tests/, whose kernels it compiles; a free process helps another. Threads
# of a BLAS that wait for each other on busy cores would take four times the processor time.
test: $(INSTALLED)  ## run the tests (ARGS="-k name" picks some)
	@OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=logical --maxprocesses=4 --dist=worksteal $(ARGS)

check: $(INSTALLED)  ## check lint, formatting and types, also of the workflow
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/python -m mypy
	@$(BIN)/python -m snakefmt --check Snakefile workflow

docs: $(DOCS_INSTALLED)  ## build the documentation site, build/docs/index.html; a warning is an error
	@$(BIN)/python -P -m sphinx -b html -W --keep-going -q docs build/docs $(ARGS)
	@echo "build/docs/index.html is the first page of the site"

chaos: $(INSTALLED)  ## kill runs at random moments, damage files; write the tables of docs/reliability.md (an hour and a half)
	@$(BIN)/python -m tests.chaos.campaign --fuzz 5000 --output results/chaos.json --docs docs/reliability.md $(ARGS)
	@$(BIN)/python -m tests.chaos.crash_points --docs docs/reliability.md
	@$(BIN)/python -m tests.chaos.readers

format: $(INSTALLED)  ## format the code
	@$(BIN)/python -m ruff check --fix-only --quiet .
	@$(BIN)/python -m ruff format .
	@$(BIN)/python -m snakefmt Snakefile workflow

bench: $(INSTALLED)  ## measure the kernels, and what sweeps save that decide for themselves, as tables
	@$(BIN)/python benchmarks/kernels.py
	@$(BIN)/python -m benchmarks.adaptive
	@$(BIN)/python -m benchmarks.stopping

race: $(RACE)/.installed  ## race clhd against what people use; write the tables of docs/performance.md (half an hour)
	@$(RACE)/bin/python -m benchmarks.race $(ARGS)

scaling: $(INSTALLED)  ## measure the overhead of a sweep; write the table of docs/scaling.md (10 minutes)
	@$(BIN)/python -m benchmarks.scaling $(ARGS)

figure: $(INSTALLED)  ## draw the figure of the README
	@$(BIN)/python docs/figures/sgd_against_ode.py

lock: pyproject.toml  ## choose the newest versions and write requirements/
	@$(PYTHON) -m venv $(VENV)-lock && $(VENV)-lock/bin/python -m pip install --quiet uv
	$(VENV)-lock/bin/uv $(COMPILE) --extra dev --extra slurm --extra all -o $(LOCK) pyproject.toml
	echo setuptools | $(VENV)-lock/bin/uv $(COMPILE) --no-annotate -c $(LOCK) -o $(BUILD_LOCK) -
	$(VENV)-lock/bin/uv $(COMPILE) --no-annotate --extra docs --extra all -c $(LOCK) -o $(DOCS_LOCK) pyproject.toml
	$(VENV)-lock/bin/uv $(COMPILE) --no-annotate --extra race --extra all -c $(LOCK) -o $(RACE_LOCK) pyproject.toml
	@rm -r $(VENV)-lock

clean:  ## remove .venv and all caches
	rm -rf $(VENV) $(VENV)-lock $(RACE) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist clhd.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment works only where it was made, at the path in $(INSTALLED): its scripts name it, and its clhd is the folder
# beside it. If the project was copied or moved, the environment is made again.
ifneq ($(subst $(CURDIR),,$(file <$(INSTALLED))),)
$(INSTALLED): reinstall
endif

reinstall:
	@echo "$(VENV) was made at another path, before the project was copied or moved: it is made again"
	@rm -rf $(VENV)

# The locks name all packages: with --no-deps, pip need not look for dependencies, a quarter of its time. The build backend
# is installed first: packages without a wheel are then built with this version, not with a newer one that is not locked.
$(INSTALLED): $(LOCK) $(BUILD_LOCK) pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "clhd needs Python 3.11 or newer, which $(PYTHON) is not: name another one, as in:" \
			"make PYTHON=python3.12" >&2; exit 1; }
	@echo "installing into $(VENV), about a minute the first time"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python $(INSTALL) --require-hashes --no-deps -r $(BUILD_LOCK)
	@$(BIN)/python $(INSTALL) --require-hashes --no-deps --no-build-isolation -r $(LOCK)
	@$(BIN)/python $(INSTALL) --no-deps --no-build-isolation -e .
	@echo "$(CURDIR)" >$@

# Sphinx and its theme, beside the rest: `make` and `make test` do without.
$(DOCS_INSTALLED): $(INSTALLED) $(DOCS_LOCK)
	@$(BIN)/python $(INSTALL) --require-hashes --no-deps -r $(DOCS_LOCK)
	@touch $@

# The competitors and clhd, apart from the rest. Where no build of torch for processors is found, the race is without it.
$(RACE)/.installed: $(INSTALLED) $(RACE_LOCK)
	@rm -rf $(RACE) && $(PYTHON) -m venv $(RACE)
	@$(RACE)/bin/python $(INSTALL) --require-hashes -r $(BUILD_LOCK)
	@$(RACE)/bin/python $(INSTALL) --require-hashes --no-build-isolation -r $(RACE_LOCK)
	@$(RACE)/bin/python $(INSTALL) --no-deps --no-build-isolation -e .
	@$(RACE)/bin/python $(INSTALL) '$(TORCH)' || \
		echo "the race is without torch: pip found no $(TORCH); name its index in PIP_EXTRA_INDEX_URL," \
			"or another build in TORCH, and remove $(RACE)"
	@touch $@
