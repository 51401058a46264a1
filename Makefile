# SPDX-License-Identifier: MIT
#
# The human verbs. What they do is in vm/: each script there is one noun and may be called by itself.
#
# `make vm CMD='…'` writes to standard output what the command writes, and nothing else (with make -C, add
# --no-print-directory). make itself ends with 2 when the command fails, and says on standard error with what;
# `vm/run --sh '…'` ends with the command's own status.

KERNEL ?= 6.1
PYTHON ?= python3

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.SUFFIXES:

# What a user typed reaches the scripts through the environment, where no quoting can hurt it.
export KERNEL PYTHON TIMEOUT
export SEMSHARE_CMD := $(value CMD)
export SEMSHARE_ARGS := $(value ARGS)
export SEMSHARE_KEY := $(value KEY)
export SEMSHARE_CERT := $(value CERT)
export SEMSHARE_MODULES := $(value MODULES)
export T := $(value T)
export PYTEST_ARGS := $(value PYTEST_ARGS)
run = vm/run --kernel '$(KERNEL)' $(if $(TIMEOUT),--timeout '$(TIMEOUT)') $(if $(NOLOAD),--no-load)

help: ## show this list
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 24
	@echo
	@echo "  KERNEL=… picks the kernel for each of them (default 6.1):" \
		"$$(awk '!/^#/ && NF { printf "%s%s", (n++ ? ", " : ""), $$1 }' vm/kernels)"

setup: ## install what is missing: Debian packages, .venv, the machine's kernel (in the cache)
	@vm/setup
	@vm/venv
	@vm/fetch '$(KERNEL)' >/dev/null

demo: setup kmod ## kernel threads and Python processes around one lock and one buffer, in the machine (ARGS=…)
	@$(run) --sh "semshare demo $$SEMSHARE_ARGS"

test: setup setup-models setup-arm64 kmod ## the host's tests, then the machine's (T=path or expression, PYTEST_ARGS=…)
	@vm/test

test-models: setup setup-models ## the memory order of the rings: herd7, spin, ThreadSanitizer; part of test
	@.venv/bin/python -m pytest tests/models $$PYTEST_ARGS

test-arm64: setup setup-arm64 ## package and module, cross-built for arm64, and what can be run of them; part of test
	@.venv/bin/python -m pytest tests/arm64 $$PYTEST_ARGS

setup-models:
	@vm/setup models
	@vm/herd >/dev/null

setup-arm64:
	@vm/setup arm64

test-all: setup setup-models setup-arm64 ## the host's tests and the machine's with every kernel, or those in KERNELS='…', and one table of them
	@vm/test-all $(KERNELS)

test-pythons: setup ## build, install and test the locks with each CPython that this machine has, 3.9 to 3.14t
	@vm/test-pythons

test-packaging: setup kmod ## install, sign and load the module as a new user would, in a chroot and under Secure Boot
	@vm/venv packaging
	@.venv/bin/python -m pytest tests/packaging -o timeout=3600 $$PYTEST_ARGS

vm: setup kmod ## a root shell in the machine, or CMD='…' run there (TIMEOUT=600, NOLOAD=1)
	@$(run) $(if $(SEMSHARE_CMD),--sh "$$SEMSHARE_CMD")

# Times on the host, because an emulated processor's mean nothing; instructions in the machine, where there can be one.
# eval, so that quotes in ARGS mean what they mean in a shell.
bench: ## the benchmarks: times, on this machine without the module; instructions, in the virtual one (ARGS=…)
	@vm/venv bench
	@eval ".venv/bin/python -m bench $$SEMSHARE_ARGS"

compare: ## try what ours and other packages' locks do, and print a table of it (ARGS=…; --write makes the page anew)
	@vm/setup bench
	@vm/venv bench
	@eval ".venv/bin/python -m bench.compare $$SEMSHARE_ARGS"

kmod: ## build the modules for KERNEL
	@vm/kmod '$(KERNEL)'

check: setup ## read all code with gcc -W, sparse, checkpatch, shellcheck, ruff and mypy
	@vm/check '$(KERNEL)'

dkms-install: ## install the module on this machine, for KERNELRELEASE (or its files below DESTDIR)
	@packaging/dkms install

dkms-uninstall: ## and remove it again
	@packaging/dkms uninstall

kmod-sign: ## sign the modules that are installed for KERNELRELEASE, or MODULES='…': KEY=… CERT=…
	@packaging/sign

clean: ## remove what was built; .venv stays
	@rm -rf build
	@find . -path ./.venv -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean ## and .venv; the cache of kernels, shared with other clones, stays
	@rm -rf .venv

.PHONY: help setup setup-models setup-arm64 demo test test-models test-arm64 test-all test-pythons test-packaging vm bench compare kmod check dkms-install dkms-uninstall kmod-sign \
	clean distclean
.NOTPARALLEL:
