# The two commands of the README: `make demo` and `make test`. `make help` lists the rest.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

CARGO ?= cargo
PYTHON ?= python3
VENV := .venv
# What the tests of the package need.
EXTRAS := cli,service,test,test-service
VENV_PYTHON := $(VENV)/bin/python
# Whatever the package is built from. Its virtual environment is made anew when one of these is newer.
PACKAGE_SOURCES := Cargo.toml Cargo.lock build.rs $(shell find src include bindings/python -type f \
	-not -path '*/__pycache__/*' -not -path '*/build/*' -not -name '*.so' -not -path '*.egg-info/*')
NODE_SOURCES := Cargo.toml Cargo.lock build.rs $(shell find src include bindings/node/src -type f) \
	$(addprefix bindings/node/,build.mjs package.json package-lock.json)

include install.mk

.PHONY: help demo test test-rust test-portable test-loom test-shuttle test-mutants test-python test-cpp test-go test-node test-tsan \
	test-aarch64 test-pypy fuzz soak lint bench bench-python bench-node yield build setup clean

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24
	@printf '  make install          library, headers, pkg-config and CMake files: PREFIX=/usr/local DESTDIR=\n'

demo: $(VENV)/installed ## a batch of prompts at the full speed the limits allow, beside two other ways
	$(VENV_PYTHON) examples/demo/run.py

test: setup lint test-rust test-portable test-loom test-shuttle test-mutants test-python ## every test; installs what it needs

setup: ## install what the tests need and the machine lacks
	@.ci/setup

build: ## the C library, optimised: target/release/libllmrl.so
	$(CARGO) build --release

lint: ## formatting and lints
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets -- -D warnings

test-rust: ## unit tests, reference model, vectors, documentation, C programs, header
	$(CARGO) test

test-portable: ## the same limiter on the portable parker
	RUSTFLAGS="--cfg llmrl_portable" CARGO_TARGET_DIR=target/portable $(CARGO) test --lib --test limiter

# Tiny fields: each counter of the protocol wraps around many times in a schedule.
test-loom: ## model checking: all schedules up to a number of preemptions
	RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom $(CARGO) test --profile model --lib --test loom
	RUSTFLAGS="--cfg loom --cfg llmrl_tiny" CARGO_TARGET_DIR=target/loom-tiny LLMRL_LOOM_SECONDS=10 \
		$(CARGO) test --profile model --test loom

test-shuttle: ## model checking: many random schedules
	RUSTFLAGS="--cfg shuttle" CARGO_TARGET_DIR=target/shuttle $(CARGO) test --profile model --test shuttle
	RUSTFLAGS="--cfg shuttle --cfg llmrl_tiny" CARGO_TARGET_DIR=target/shuttle-tiny \
		$(CARGO) test --profile model --test shuttle

test-mutants: ## each rule of the protocol broken on purpose: the checkers must notice
	$(PYTHON) tests/mutants/run.py

# The standard library is built along: what happens inside one that is not instrumented is reported as a race.
test-tsan: ## ThreadSanitizer; installs a nightly toolchain
	@.ci/setup tsan
	RUSTFLAGS="-Zsanitizer=thread" CARGO_TARGET_DIR=target/tsan LLMRL_SOAK_SECONDS=60 \
	TSAN_OPTIONS="suppressions=$(CURDIR)/tests/tsan.supp" $(CARGO) +nightly test -Zbuild-std \
		--target $(shell rustc -vV | sed -n 's/^host: //p') --lib --test limiter --test soak

soak: ## a million keys through a map, and a minute of keys that come and go on two threads
	LLMRL_SOAK_KEYS=1000000 LLMRL_SOAK_SECONDS=60 $(CARGO) test --release --test soak -- --nocapture

# QEMU orders memory as the machine it runs on does, so this says nothing about orderings; the model checkers do.
test-aarch64: ## 64-bit ARM under QEMU; installs a cross compiler
	@.ci/setup aarch64
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
		$(CARGO) test --target aarch64-unknown-linux-gnu --lib --test limiter --test vectors --test extremes

# Each target for FUZZ_SECONDS. What it finds is written to tests/fuzz/artifacts, and belongs into tests/feedback/examples.json.
FUZZ_SECONDS ?= 240
fuzz: ## coverage-guided fuzzing of what providers say; installs a nightly toolchain and cargo-fuzz
	@.ci/setup fuzz
	for target in answer learn; do \
		$(PYTHON) tests/fuzz/seeds.py tests/fuzz/corpus/$$target; \
		CARGO_TARGET_DIR=target/fuzz $(CARGO) +nightly fuzz run --fuzz-dir tests/fuzz $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=4096; \
	done

test-pypy: ## the Python package on PyPy; installs one
	@.ci/setup pypy
	$(MAKE) test-python PYTHON=pypy3 VENV=.venv-pypy EXTRAS=cli,test

test-python: $(VENV)/tested ## the Python package, on both of its backends, its command line, and the yield bench
	cd bindings/python && ../../$(VENV_PYTHON) -m pytest -q
	cd bindings/python && ../../$(VENV_PYTHON) -m pytest -q -c pyproject.toml ../../benches/yield/tests

# With LLMRL_LIB_DIR the library that is there, and else the one of this tree.
test-cpp: $(if $(LLMRL_LIB_DIR),,build) ## llmrl.hpp in C++17, 20 and 23, and what is installed of it
	$(MAKE) -s -j2 -C bindings/cpp test LLMRL_LIB_DIR=$(or $(LLMRL_LIB_DIR),$(abspath $(LLMRL_BUILD)))

# The race detector follows Go alone; what C does beside is test-tsan's.
test-go: ## the Go package, also with the race detector; installs Go
	@.ci/setup go
	bindings/go/prepare.sh
	cd bindings/go && test -z "$$(gofmt -l .)" && go vet ./... && go test ./... && go test -race ./...
	cd bindings/go/bench && go vet .

# LLMRL_LIB_DIR=folder takes libllmrl.a from there instead of building it.
test-node: bindings/node/build/llmrl.node ## the package for Node, its types, and the SDKs of OpenAI and Anthropic over it
	cd bindings/node && npm test && npm run types

bindings/node/build/llmrl.node: $(NODE_SOURCES)
	@.ci/setup node
	cd bindings/node && npm ci --ignore-scripts --silent && node build.mjs --force

bench: ## the ratio table of benches/README.md
	$(CARGO) bench --bench ratios

bench-python: $(VENV)/installed ## the Python package beside its peers
	$(VENV_PYTHON) -m pip install -q -r bindings/python/bench/requirements.txt
	$(VENV_PYTHON) bindings/python/bench/bench.py

bench-node: bindings/node/build/llmrl.node ## the package for Node beside its peers
	npm install --prefix bindings/node/bench --no-package-lock --silent
	node bindings/node/bench/bench.mjs

yield: $(VENV)/installed ## how much of a provider's limits each limiter gets: benches/yield/README.md
	$(VENV_PYTHON) -m pip install -q --disable-pip-version-check -r benches/yield/requirements.txt
	$(VENV_PYTHON) benches/yield/bench.py

$(VENV)/installed: $(PACKAGE_SOURCES)
	$(PYTHON) -m venv $(VENV)
	LLMRL_BACKEND=native $(VENV_PYTHON) -m pip install -q --disable-pip-version-check './bindings/python[cli]'
	@touch $@

$(VENV)/tested: $(VENV)/installed
	$(VENV_PYTHON) -m pip install -q --disable-pip-version-check 'llmrl[$(EXTRAS)]'
	@touch $@

clean: ## everything that was built
	$(CARGO) clean
	rm -rf $(VENV) .venv-pypy bindings/python/build bindings/node/build
