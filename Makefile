# SPDX-License-Identifier: MIT
# One-word commands.  Meson does the work, everything goes under
# build/.  `make help` lists the verbs.

asan = -Dchecks=true -Db_sanitize=address,undefined -Db_lundef=false -Doptimization=1 \
       -Dc_args=-fno-sanitize-recover=all
tsan = -Db_sanitize=thread -Db_lundef=false
coverage = -Db_coverage=true -Dbuildtype=debug

PYTHON ?= python3

export BACKEND T
.PHONY: all demo test asan tsan valgrind coverage fuzz format lint bench \
        bench-full bench-plot python python-test wheel install clean help

all: build/build.ninja
	@ninja -C build

# The library and the programs need less than the tests do: only `make test`
# insists on those.
build/build.ninja:
	@tools/deps build
	meson setup build -Dtests=$$(pkg-config --exists cmocka && echo true \
	    || echo false)

build/asan/build.ninja:
	meson setup build/asan $(asan)

build/tsan/build.ninja:
	meson setup build/tsan $(tsan)

build/coverage/build.ninja:
	meson setup build/coverage $(coverage)

demo: all
	@tools/deps demo
	@tools/demo-chat build/examples
	@tools/demo build/examples

test: deps-test build/build.ninja
	@test -d build/tests || meson configure build -Dtests=true
	@tools/test build

asan: deps-test build/asan/build.ninja
	@tools/test build/asan --timeout-multiplier 2

tsan: deps-test build/tsan/build.ninja
	@tools/test build/tsan --timeout-multiplier 2

valgrind: deps-valgrind build/build.ninja
	@test -d build/tests || meson configure build -Dtests=true
	@tools/test build --setup valgrind

coverage: deps-coverage build/coverage/build.ninja
	@find build/coverage -name '*.gcda' -delete
	@tools/test build/coverage --timeout-multiplier 4
	@gcovr --root . --filter src/ build/coverage

fuzz: deps-fuzz
	@tests/fuzz/run $(or $(SECONDS),60)

format: deps-format
	@tools/lint --fix

lint: deps-lint build/build.ninja
	@tools/lint

bench bench-full: deps-bench build/build.ninja
	@test -x build/bench/load || \
	    meson setup --reconfigure build -Dbench=true >build/bench.log
	@ninja -C build --quiet
	@bench/run --list-pythons build | while read -r python; do \
	    tools/python "$$python" >build/bench.log || \
	    echo "bench: no drop-in for $$python (see build/bench.log)" >&2; done
	@bench/run $(if $(filter bench-full,$@),--full) build

# From what bench-full has found.
bench-plot:
	@bench/run --report build

# For one interpreter: PYTHON=python3.13.
python:
	@PYTHON="$(PYTHON)" tools/deps python
	@mkdir -p build
	@tools/python "$(PYTHON)"

wheel:
	@PYTHON="$(PYTHON)" tools/deps wheel
	@tools/wheel "$(PYTHON)"

# With every interpreter there is; PYTHONS='python3.12 python3.13': with those.
python-test: deps-python-test
	@tests/python/run

install: all
	@meson configure build -Dprefix="$(or $(PREFIX),/usr/local)"
	@meson install -C build
	@test -n "$(DESTDIR)" || ldconfig 2>/dev/null || :

clean:
	rm -rf build

deps-%:
	@tools/deps $*

help:
	@sed -n 's/^## //p' Makefile

## make                      the library and the programs, in build/
## make demo                 see the programs at work
## make test                 the suite; BACKEND=poll: one backend,
##                           T='timer*': what matches a pattern
## make asan, tsan           the suite under sanitizers
## make valgrind             the unit tests under valgrind
## make coverage             the suite, and the lines of src/ it runs
## make fuzz SECONDS=60      random input for the parser, for so long each
## make format, lint         lay out the code; check it
## make bench, bench-full    what it costs, beside others (bench/README.md)
## make bench-plot           docs/performance.md, of the last bench-full
## make python PYTHON=…      the drop-in for an interpreter, in
##                           build/python-VERSION
## make wheel PYTHON=…       its wheel, and its sources, in build/dist
## make python-test          its tests; PYTHONS='python3.12 python3.13'
## make install PREFIX=/usr  install (DESTDIR is heeded)
## make clean                remove build/
