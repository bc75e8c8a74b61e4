# Everything runs inside one virtual environment; `make clean` removes it.
#
#   VENV=...     another place for it
#   PYTHON=...   another interpreter (3.11 or newer) to build it from; 3.12 is preferred
#   JOBS=...     test processes (default 2)
#   MINUTES=...  how long the soak lasts (default 60)

VENV ?= .venv
JOBS ?= 2
MINUTES ?= 60
# The first that answers. A shim of pyenv answers only if one of its versions is named.
PYTHON ?= $(shell asked='import sys; sys.exit(print(sys.executable) if sys.version_info >= (3, 11) else 1)'; \
	for v in '' $$(pyenv versions --bare 2>/dev/null | grep -x '3\.12\.[0-9]*'); do \
		$${v:+env PYENV_VERSION=$$v} python3.12 -c "$$asked" 2>/dev/null && exit; done; \
	for p in python3 python3.13 python3.14 python3.15 python3.11; do \
		$$p -c "$$asked" 2>/dev/null && exit; done)
# A shim of uv may exist and still refuse to run: ask it, do not look for it.
UV ?= $(shell uv --version >/dev/null 2>&1 && echo uv)
RUN := $(VENV)/bin

# What one test process has compiled, the next one and every program that a test starts reads.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help demo test test-core test-full test-live test-browser py lists docs site pictures bench soak lint types dist release clean
.DEFAULT_GOAL := help

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-demo  ## install with real sample bars and show what the library does
	$(RUN)/python -m onetape demo

# The tests make some 70,000 small files, 0.6 GB: in memory, if it has a folder with room for them. They are in a
# folder of this run alone, for two runs at once would remove each other's; it goes at the end, also by Ctrl-C.
# Where root tests, another user runs the database inside it, and must be able to pass.
TEMPORARY := $(shell [ -w /dev/shm ] && df -Pk /dev/shm | \
	awk 'END {if ($$4 > 4000000) print "/dev/shm"}')
IN_OWN_FOLDER = folder=$$(mktemp -d "$(or $(TEMPORARY),$${TMPDIR:-/tmp})/onetape.XXXXXX") && chmod 711 "$$folder" && \
	trap 'rm -rf "$$folder"' EXIT && trap 'exit 130' INT && trap 'exit 143' HUP TERM && \
	PYTEST_DEBUG_TEMPROOT="$$folder"

test: lint  ## lint, types and the tests but those in tests/left_out.txt (9 minutes); needs no network but the package index, no key
	@$(MAKE) --no-print-directory -j2 types tested

# Types are checked beside them: tests wait for servers and programs now and then.
.PHONY: tested
tested: $(if $(wildcard tests/__pycache__),,compiled)
	@$(IN_OWN_FOLDER) $(RUN)/python -m pytest -n $(JOBS) --dist worksteal -o tmp_path_retention_policy=none

# In a fresh clone both test processes would compile all tests; beside the types one of them does.
.PHONY: compiled
compiled: $(VENV)/.installed-dev
	-@$(RUN)/python -m pytest --collect-only -qq >/dev/null

# What a question for bars enters, in an environment of its own that has no extra, while every package that stands
# above `bars` is hidden. The files left out test what is above, or a vendor together with it.
CORE = core/bars core/cache core/calendars core/config core/disk golden core/model core/net core/prices core/symbols core/vendors
ABOVE = core/cache/test_columnar_cache_decisions.py core/net/test_websocket.py core/vendors/test_adding_a_provider.py \
	core/vendors/test_factory.py core/vendors/test_ibkr.py \
	core/vendors/test_offered_parts.py core/vendors/test_offered_vendors.py core/vendors/test_plugin_faults.py core/vendors/test_register.py

test-core:  ## the core's tests alone, without extras and without what stands above (3 minutes)
	@$(MAKE) --no-print-directory VENV=$(VENV)-core core-tested

.PHONY: core-tested
core-tested: $(VENV)/.installed-test
	@$(IN_OWN_FOLDER) $(RUN)/python -m pytest -p tests.without_upper -n $(JOBS) --dist worksteal \
		-o tmp_path_retention_policy=none $(CORE:%=tests/%) $(ABOVE:%=--ignore=tests/%)

# The tests that do more when ONETAPE_FULL is set. All others would only do the same again.
COUNTED = $(sort $(shell grep -rlE 'ONETAPE_FULL|tests\.core\.cache\.counts' --include='test_*.py' tests; \
	grep -ohE '^ *"?tests/[a-z0-9_/]+\.py' tests/thinned.py tests/left_out.txt | tr -d ' "'; find tests/db tests/research/loading -name 'test_*.py'))

test-full: $(VENV)/.installed-full lint types  ## all tests, at least 90 % covered with branches, then the full fault counts (long)
	$(RUN)/python -m pytest -n $(JOBS) --dist worksteal --cov --cov-branch --cov-report=term --cov-fail-under=90
	ONETAPE_FULL=1 $(RUN)/python -m pytest -n $(JOBS) --dist worksteal --timeout 3000 $(COUNTED)

# Never part of the others: it sends requests to real vendors, and first prints which ones and for what.
test-live: $(VENV)/.installed-dev  ## one or two small questions to each real vendor: those without a key, others by their keys
	ONETAPE_LIVE=1 $(RUN)/python -m pytest -q tests/live

# Its own extra, for what drives the browser is large. The browser itself is the system's, or CHROMIUM=...
test-browser: $(VENV)/.installed-browser  ## reports and charts opened from disk in Chromium; fails without it
	ONETAPE_BROWSER=1 $(RUN)/python -m pytest tests/browser

# An interpreter that is not on this machine is one of Debian's packages in a folder of its own, with its headers
# for packages without a wheel.
py: $(VENV)/.installed-dev  ## README's blocks and the tests on VERSION=3.14, or PARTS="core/model feed" of them; LOWEST=1: lowest packages
	@[ -n "$(VERSION)" ] || { echo "name a version: make py VERSION=3.14" >&2; exit 1; }
	@own=$(abspath $(VENV))-py$(VERSION); python=$$($(RUN)/python .ci/pythons.py find $(VERSION) $$own-debian) && \
	case "$$python" in $$own*) export CPATH="$$own-debian/usr/include:$$own-debian/usr/include/python$(VERSION)" ;; esac && \
	$(if $(LOWEST),export UV_RESOLUTION=lowest-direct &&) $(MAKE) --no-print-directory py-tested \
		VENV=$(VENV)-py$(VERSION)$(if $(LOWEST),-lowest) PYTHON="$$python" UV="$(or $(UV),$(abspath $(RUN)/uv))"

.PHONY: py-tested
py-tested: $(VENV)/.installed-dev
	@unset UV_RESOLUTION CPATH; $(IN_OWN_FOLDER) $(RUN)/python .ci/pythons.py run --jobs $(JOBS) $(PARTS)

# A list that cannot be made leaves the one before.
lists: $(VENV)/.installed-dev  ## write the lists that tests compare: public names and their types, files of the core
	$(RUN)/python -m tests.contract.public_types
	$(RUN)/python -m tests.contract.live_keys
	$(RUN)/python -m tests.contract.public_names > build-list && mv build-list tests/contract/public_names.txt

docs: $(VENV)/.installed-dev  ## write what is made of the code and of the packaged rules
	$(RUN)/python .ci/pages.py

site: $(VENV)/.installed-dev  ## the documentation as pages that open from disk, in build/site
	$(RUN)/python .ci/site.py

pictures: $(VENV)/.installed-dev  ## draw the pictures of README and docs anew
	$(RUN)/python docs/img/picture.py

bench: $(VENV)/.installed-dev  ## measure what is claimed of speed, into benchmarks/results.md
	$(RUN)/python -m benchmarks

soak: $(VENV)/.installed-dev  ## live feeds on breaking connections for an hour: nothing may grow
	ONETAPE_SOAK_MINUTES=$(MINUTES) $(RUN)/python -m pytest tests/feed/test_soak.py -s

lint: $(VENV)/.installed-dev  ## style and format
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

# A source archive lacks the link by which type checkers find `onetape.data`.
types: $(VENV)/.installed-dev  ## strict types
	@[ -e onetape/data ] || ln -s ../src/data onetape/data
	$(RUN)/mypy

dist: $(VENV)/.installed-dev  ## wheel and source archive into dist/, built twice and compared
	$(RUN)/python .ci/dist.py

# With the folder's own name for the temporary files, as the tests have it.
release: $(VENV)/.installed-release  ## everything that a release needs, checked; PUBLISH=1 refuses what cannot be published
	@$(RUN)/python .ci/release.py before $(if $(filter 1,$(PUBLISH)),--publish)
	@$(MAKE) --no-print-directory dist
	@$(IN_OWN_FOLDER) $(RUN)/python .ci/release.py after

clean:  ## remove the environment, builds and what tools left behind; never the cache
	rm -rf $(VENV) $(VENV)-core $(VENV)-py3.* build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is touched only when the installation succeeded, so an interrupted one is repeated; a
# changed dependency installs again. uv takes a sixth of the time of pip, so the environment gets one if there is
# none. It does not read the settings of pip: it is given the index of pip, and if it fails, pip installs.
# Nothing is compiled beforehand: most of it is never loaded.
$(VENV)/.installed-%: setup.cfg pyproject.toml | $(RUN)/python
	rm -rf build
	@uv=$(or $(UV),$(RUN)/uv); [ -n "$(UV)" ] || $$uv --version >/dev/null 2>&1 || $(RUN)/python -m pip install -q uv || :; \
	index=$$($(RUN)/python -m pip config list 2>/dev/null | sed -n "s/^[^=]*\.index-url='\(.*\)'$$/\1/p" | tail -n 1); \
	index=$${PIP_INDEX_URL:-$$index}; [ -z "$$index" ] || export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$index}"; \
	if $$uv pip install --python $(RUN)/python -q -e ".[$*]"; then :; \
	elif [ -n "$$UV_RESOLUTION" ]; then exit 1; \
	else echo "installing .[$*] with pip"; $(RUN)/python -m pip install -q --no-compile -e ".[$*]"; fi
	@touch $@

$(RUN)/python:
	@python="$(PYTHON)"; [ -n "$$python" ] || { \
		echo "No Python 3.11 or newer found; name one: make PYTHON=/path/to/python3" >&2; exit 1; }; \
	if $$python -c 'import ensurepip' 2>/dev/null; then $$python -m venv $(VENV); \
	elif [ -n "$(UV)" ]; then $(UV) venv -q --python "$$(command -v $$python)" $(VENV); \
	else echo "$$python comes without ensurepip; on Debian: apt install python3-venv" >&2; exit 1; fi || { rm -rf $(VENV); exit 1; }
