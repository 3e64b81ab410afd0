# `make` lists the targets. Variables: PYTHON=python3.12, EMPTY=1 and SECURE=1 (up), ONLY=name (bench),
# WORKERS=4 (test), ADVISORIES=files (audit).

PYTHON ?= python3
VENV := .venv
LOCK := deploy/locks/development.txt
STAMP := $(VENV)/.installed
BENCH_LOCK := deploy/locks/bench.txt
BENCH_STAMP := $(VENV)/.installed-bench
# What `make audit` needs is no part of what is audited: an environment of its own.
AUDIT := $(VENV)/audit
AUDIT_LOCK := deploy/locks/audit.txt
AUDIT_STAMP := $(AUDIT)/.installed
AUDIT_LOG := .scantrail/audit.log
INSTALL_LOG := .scantrail/install.log
# More than two cores' worth: most of the time of a test is waiting for Kafka.
WORKERS ?= 4

.DEFAULT_GOAL := help
.PHONY: help install up test broker browser prometheus kustomize pictures test-faults check demo bench audit clean

help: ## lists these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 21

install: $(STAMP) ## makes .venv with every locked dependency, each checked by its hash

# The stamp comes last: an installation cut short is not taken for a finished one.
$(STAMP): $(LOCK) pyproject.toml
	@command -v $(PYTHON) >/dev/null \
	  || { echo "make: there is no $(PYTHON): install Python 3.11 or later" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "make: $$($(PYTHON) --version) is too old: install Python 3.11 or later" \
	            "and say make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "make: $(PYTHON) cannot make virtual environments:" \
	            "install the system's package python3-venv" >&2; exit 1; }
	@mkdir -p $(dir $(INSTALL_LOG)) && : > $(INSTALL_LOG)
	@echo "1/3 virtual environment in $(VENV)"
	@$(VENV)/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || rm -rf $(VENV)
	@rm -f $(STAMP)
	@$(PYTHON) -m venv $(VENV) >> $(INSTALL_LOG) 2>&1 \
	  || { echo "make: $(VENV) could not be made: see $(INSTALL_LOG)" >&2; exit 1; }
	@echo "2/3 $$(grep -c '==' $(LOCK)) locked packages" \
	      "(the first time about a minute and 600 MB; progress in $(INSTALL_LOG))"
	@$(VENV)/bin/python -m pip install --no-input --retries 2 --no-deps --require-hashes \
	    -r $(LOCK) >> $(INSTALL_LOG) 2>&1 \
	  || { $(call explain_pip,$(LOCK)); exit 1; }
	@echo "3/3 scantrail itself"
	@$(VENV)/bin/python -m pip install --no-input --no-deps --no-build-isolation -e . \
	    >> $(INSTALL_LOG) 2>&1 \
	  || { echo "make: scantrail could not be installed: see $(INSTALL_LOG)" >&2; exit 1; }
	@touch $(STAMP)

define explain_pip
if grep -q 'DO NOT MATCH THE HASHES' $(INSTALL_LOG); then \
  echo "make: a downloaded package is not the one of $(1): try from another network;" \
       "see $(INSTALL_LOG)" >&2; \
elif grep -qE 'No space left' $(INSTALL_LOG); then \
  echo "make: the disk is full: free 1 GB and try again" >&2; \
elif grep -qE 'NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|resolve|timed out|refused|No matching distribution' $(INSTALL_LOG); then \
  echo "make: could not reach the package index: check the network or the proxy and try again;" \
       "see $(INSTALL_LOG)" >&2; \
else \
  echo "make: the packages could not be installed: $$(grep '^ERROR' $(INSTALL_LOG) | tail -1);" \
       "see $(INSTALL_LOG)" >&2; \
fi
endef

up: install ## starts everything and prints the address of the page (EMPTY=1: no simulated site; SECURE=1)
	@$(VENV)/bin/scantrail up $(if $(EMPTY),--empty) $(if $(SECURE),--secure)

# Each worker reads all tests and many a test starts processes: what they read is compiled once, also
# where the environment says otherwise.
test test-faults: export PYTHONDONTWRITEBYTECODE :=

# A few tests at a time to each worker, in the order of the list: first those that share what is dear
# to set up, which all go to one worker, and last those that run alone.
test: install check broker browser prometheus kustomize ## checks, then runs every test
	@$(VENV)/bin/pytest -n $(WORKERS) --dist loadscope

# The tests' MQTT broker, and openssl for its certificate. Debian has mosquitto outside of PATH.
broker:
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin"; \
	lacks_one() { for tool in mosquitto mosquitto_passwd openssl; do \
	  command -v $$tool >/dev/null || return 0; done; return 1; }; \
	if lacks_one && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "mosquitto, for the tests (progress in $(INSTALL_LOG))"; mkdir -p $(dir $(INSTALL_LOG)); \
	  { apt-get update && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y --no-install-recommends mosquitto openssl; } > $(INSTALL_LOG) 2>&1 \
	  || { echo "make: mosquitto could not be installed: see $(INSTALL_LOG)" >&2; exit 1; }; \
	fi; \
	if lacks_one; then \
	  echo "make: the tests need mosquitto and openssl: install the system's packages" >&2; exit 1; \
	fi

# What renders deploy/kubernetes, alone or within kubectl, of version 5 or later; with Go it is built.
KUSTOMIZE := sigs.k8s.io/kustomize/kustomize/v5@v5.7.1
kustomize:
	@lacks() { ! command -v kustomize >/dev/null && [ ! -x $(VENV)/bin/kustomize ] \
	  && ! kubectl version --client 2>/dev/null | grep -q 'Kustomize Version: v5'; }; \
	if lacks && command -v go >/dev/null; then \
	  echo "kustomize, for the tests (the first time a minute; progress in $(INSTALL_LOG))"; \
	  mkdir -p $(dir $(INSTALL_LOG)); \
	  GOBIN=$(CURDIR)/$(VENV)/bin go install $(KUSTOMIZE) > $(INSTALL_LOG) 2>&1 \
	  || { echo "make: kustomize could not be built: see $(INSTALL_LOG)" >&2; exit 1; }; \
	fi; \
	if lacks; then \
	  echo "make: the tests need kustomize 5, kubectl 1.27 or Go 1.22, or later: install one" >&2; exit 1; \
	fi

# The browser in which the tests look at the page.
browser:
	@if ! command -v chromium >/dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "chromium, for the tests (progress in $(INSTALL_LOG))"; mkdir -p $(dir $(INSTALL_LOG)); \
	  { apt-get update && DEBIAN_FRONTEND=noninteractive \
	    apt-get install -y --no-install-recommends chromium fonts-dejavu-core; } > $(INSTALL_LOG) 2>&1 \
	  || { echo "make: chromium could not be installed: see $(INSTALL_LOG)" >&2; exit 1; }; \
	fi; \
	if ! command -v chromium >/dev/null; then \
	  echo "make: the tests need chromium: install the system's package" >&2; exit 1; \
	fi

# The tests ask the real ones whether rules and dashboard are right. Installed, and not started as the
# system's services: a unit that is masked beforehand stays so until somebody unmasks it.
prometheus:
	@lacks_one() { for tool in prometheus promtool prometheus-alertmanager amtool; do \
	  command -v $$tool >/dev/null || return 0; done; return 1; }; \
	if lacks_one && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "prometheus and alertmanager, for the tests (progress in $(INSTALL_LOG))"; \
	  mkdir -p $(dir $(INSTALL_LOG)); \
	  if [ -d /run/systemd/system ]; then for unit in prometheus prometheus-alertmanager; do \
	    [ -e /lib/systemd/system/$$unit.service ] || systemctl mask $$unit.service; done; fi; \
	  { apt-get update && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y \
	    --no-install-recommends prometheus prometheus-alertmanager; } > $(INSTALL_LOG) 2>&1 \
	  || { echo "make: prometheus could not be installed: see $(INSTALL_LOG)" >&2; exit 1; }; \
	fi; \
	if lacks_one; then \
	  echo "make: the tests need prometheus and alertmanager: install the system's packages" \
	       "prometheus and prometheus-alertmanager" >&2; exit 1; \
	fi

check: install ## style, types and the direction of imports
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

pictures: install browser ## makes the README's pictures of the page anew
	@mkdir -p docs/images
	@SCANTRAIL_PICTURES=docs/images $(VENV)/bin/pytest -q tests/integration/test_page_pictures_edge.py

test-faults: install prometheus ## kills, pauses, cuts off and breaks everything for more than an hour, and prints tables
	@PYTHONPATH=tests $(VENV)/bin/python -m faults && made=0 || made=1; \
	PYTHONPATH=tests $(VENV)/bin/python -m faults.proofs && exit $$made

demo: install ## drives 2,000 units and every scenario through a private installation, compares every answer
	@$(VENV)/bin/scantrail demo

# What is compared with, beside the rest: its lock holds every version of the other's too.
$(BENCH_STAMP): $(STAMP) $(BENCH_LOCK)
	@echo "the peers of the bench (the first time some 80 MB)"
	@$(VENV)/bin/python -m pip install --no-input --retries 2 --no-deps --require-hashes \
	    -r $(BENCH_LOCK) > $(INSTALL_LOG) 2>&1 \
	  || { $(call explain_pip,$(BENCH_LOCK)); exit 1; }
	@touch $(BENCH_STAMP)

bench: $(BENCH_STAMP) ## measures (ONLY=name for one)
	@PYTHONPATH=tests $(VENV)/bin/python -m bench $(ONLY)

$(AUDIT_STAMP): $(STAMP) $(AUDIT_LOCK)
	@echo "the tools of the audit (the first time some 30 MB)"
	@mkdir -p $(dir $(INSTALL_LOG)) && $(PYTHON) -m venv $(AUDIT) > $(INSTALL_LOG) 2>&1
	@$(AUDIT)/bin/python -m pip install --no-input --retries 2 --no-deps --require-hashes \
	    -r $(AUDIT_LOCK) >> $(INSTALL_LOG) 2>&1 \
	  || { $(call explain_pip,$(AUDIT_LOCK)); exit 1; }
	@touch $@

# What cannot be looked up is a failure too: --strict. The list of parts needs no network. ADVISORIES is a
# folder or a zip file, for machines that reach no database.
PIP_AUDIT := $(AUDIT)/bin/pip-audit --strict --disable-pip --require-hashes --progress-spinner off
ifdef ADVISORIES
PIP_AUDIT := $(VENV)/bin/python deploy/advisories.py '$(ADVISORIES)' $(PIP_AUDIT) \
    --vulnerability-service osv --osv-url OSV_URL
endif
audit: $(AUDIT_STAMP) ## looks for known holes in what is locked (ADVISORIES=files); writes dist/sbom.cdx.json
	@mkdir -p dist $(dir $(AUDIT_LOG)) && : > $(AUDIT_LOG)
	@$(AUDIT)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible \
	    --output-format JSON --output-file dist/sbom.cdx.json deploy/locks/runtime.txt \
	    2>> $(AUDIT_LOG) \
	  || { echo "make: dist/sbom.cdx.json could not be written: see $(AUDIT_LOG)" >&2; exit 1; }
	@echo "dist/sbom.cdx.json lists the parts of deploy/locks/runtime.txt"
	@for lock in development bench audit; do \
	  if ! $(PIP_AUDIT) -r deploy/locks/$$lock.txt > $(AUDIT_LOG) 2>&1; then \
	    if grep -q 'known vulnerabilit' $(AUDIT_LOG); then \
	      cat $(AUDIT_LOG) >&2; \
	      echo "make: deploy/locks/$$lock.txt has packages with known holes (above): lock newer ones" >&2; \
	    else \
	      echo "make: nothing is known of holes in deploy/locks/$$lock.txt, for the database could not" \
	           "be asked: $$(grep -iE 'error|advisories' $(AUDIT_LOG) | tail -1 | cut -c1-300);" \
	           "try again where it can be reached, or with ADVISORIES=files (docs/security.md);" \
	           "see $(AUDIT_LOG)" >&2; \
	    fi; \
	    exit 1; \
	  fi; \
	  $(if $(ADVISORIES),[ $$lock != audit ] || grep ' advisories of ' $(AUDIT_LOG);) \
	done
	@echo "no known holes in deploy/locks"

clean: ## removes data, logs, downloads and caches; the virtual environment stays
	@if [ -e .scantrail/lock ] && command -v flock >/dev/null && ! flock -n .scantrail/lock true; \
	  then echo "make: Scantrail runs here: stop it first with Ctrl-C" >&2; exit 1; fi
	@rm -rf .scantrail .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
