# make fit    train the small model on the embedded dataset, from nothing: environment, installation, training
# make test   the same for the tests          make lint   ruff and mypy
# make docs   write the generated pages       make clean  remove the environment and all build products (runs stay)
#
# ARGS= is handed on:  make fit ARGS="seed=1 run.name=first"    make test ARGS="-m 'not slow'"
# PYTHON= chooses the interpreter (3.11 or later), VENV= where the environment lies; pip follows its own configuration.

PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,\
	$(if $(shell $(name) -c 'import sys; sys.version_info >= (3, 11) and print("new enough")' 2>/dev/null),$(name))) python3)
VENV ?= .venv
ARGS ?=
RUN := $(VENV)/bin/python

.PHONY: fit test lint docs clean venv
.DELETE_ON_ERROR:

fit: $(VENV)/.installed
	$(RUN) -m rewardkit fit recipe=hpsv2 $(ARGS)

# On several processors at once (tests/conftest.py says in which order). Threads that wait for each other while another
# test has the processor take ten times as long, hence one each; and modules are compiled once for the many processes
# that tests start, also where the surroundings forbid it. ARGS="-n 0" runs all in this process, for a debugger.
test: $(VENV)/.installed-dev
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --maxprocesses 4 --dist loadgroup $(ARGS)

lint: $(VENV)/.installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

docs: $(VENV)/.installed
	$(RUN) tools/docs/write_options.py

venv: $(VENV)/.installed-dev

# The stamps make the second call instant; a changed pyproject.toml installs again.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing rewardkit into $(VENV) (minutes on the first call)"
	@$(RUN) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing rewardkit and its test tools into $(VENV) (minutes on the first call)"
	@$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@ $(VENV)/.installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "error: rewardkit needs Python 3.11 or later, and '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." >&2; \
		echo "  Install one, or name it: make $(or $(firstword $(MAKECMDGOALS)),fit) PYTHON=/path/to/python3.12" >&2; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -f $(VENV)/bin/python*; \
		echo "error: '$(PYTHON) -m venv' failed; on Debian and Ubuntu it needs the package python3-venv." >&2; exit 1; }

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find rewardkit callbacks recipes tools tests -name __pycache__ -type d -prune -exec rm -rf {} +
