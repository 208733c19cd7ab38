#!/bin/bash
# All that needs no cluster: unit tests, and the linters beside them. Both run to their
# end, whichever fails; an interruption ends both. The exit code is the tests' or, if
# these pass, the linters'.
set -o nounset -o pipefail
cd "$(dirname "$0")/.." || exit

started=$(date +%s)
# Compilers, linkers and linters are short-lived: they need not collect garbage before
# they have a gigabyte of it.
export GOGC=${GOGC:-off} GOMEMLIMIT=${GOMEMLIMIT:-1GiB}
log=$(mktemp -t lint.XXXXXX)
# Beforehand: tests and linters need the same packages, and would each compile them.
# What vet has to say, the linters say again.
go vet ./... >/dev/null 2>&1

# Beforehand, too: the tests of the audit need a program with istiod's code. It takes
# minutes to compile, once, and longer than a test may take on a slow machine.
if ! go test -vet=off -timeout 60m ./internal/computed/computedtest; then
	echo "make test: istiod's code could not be compiled; see above" >&2
	exit 1
fi

# Each in a session of its own, so that its children end with it. A shell's background
# jobs ignore SIGINT, and tests are about that signal, too.
lint='' tests=''
stop() {
	for group in $lint $tests; do kill -- "-$group" 2>/dev/null; done
	rm -f "$log"
}
trap stop EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
setsid scripts/lint.sh >"$log" 2>&1 &
lint=$!
# More at a time than there are cores: some tests wait for a clock. The binaries are
# kept, so that none is linked twice; two of one name cannot be, and the module's root
# has the name of its program.
test_all() {
	local code=0 listed packages
	listed=$(go list ./...) || return 1 # a package that cannot be listed would not be tested
	mapfile -t packages < <(grep --line-regexp --invert-match "$(go list -m)" <<<"$listed")
	go test -vet=off . || code=$?
	go test -vet=off -p $(($(nproc) + 2)) -o bin/tests/ -ldflags='-s -w' "${packages[@]}" || code=$?
	return "$code"
}
export -f test_all
env --default-signal=INT setsid bash -c test_all &
tests=$!

wait "$tests"
tested=$? tests=''
wait "$lint"
linted=$? lint=''
cat "$log"
took=$(($(date +%s) - started))
if ((tested != 0 || linted != 0)); then
	echo "make test: failed after $took s: the tests ended with $tested, the linters with $linted" >&2
	exit $((tested != 0 ? tested : linted))
fi
echo "make test: passed in $took s"
