#!/bin/bash
# Every check of the source that needs neither a cluster nor root: gofmt, go
# vet, staticcheck, ginkgolinter, shellcheck, and actionlint where there are
# workflows. All of them run; the exit code is 1 if one fails, 3 if one cannot
# run. The Go tools come from scripts/tools/go.mod, so that they are no
# dependencies of the harness; shellcheck comes from Debian or Ubuntu and is
# installed if this is root and NO_INSTALL is not set.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

tmp=$(mktemp -d -t lint.XXXXXX)
trap 'rm -rf "$tmp"' EXIT

if ! command -v shellcheck >/dev/null; then
	if [[ ${NO_INSTALL-} == 1 || $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
		echo "lint: shellcheck is not there: install it (apt-get install shellcheck), or run as root without NO_INSTALL" >&2
		exit 3
	fi
	echo "lint: installing with apt: shellcheck"
	install() { DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=2 -o DPkg::Lock::Timeout=120 install -y --no-install-recommends shellcheck; }
	# The lists may be missing or old: refresh them and try once more.
	if ! { install || { apt-get -q -o Acquire::Retries=2 update && install; }; } >"$tmp/apt" 2>&1; then
		echo "lint: apt could not install shellcheck: see that the Debian mirror answers, or install it by hand: $(tail -n 1 "$tmp/apt")" >&2
		exit 3
	fi
fi

# files NAME…: the source files of these names, links and what is made left out.
files() {
	find . \( -path ./.git -o -path ./bin -o -path ./out \) -prune -o -type f "$@" -print
}
mapfile -t go_files < <(files -name '*.go')
mapfile -t scripts < <(files \( -name '*.sh' -o -perm /111 \) | while read -r file; do
	if [[ $file == *.sh ]] || head -c 64 "$file" | head -n 1 | grep -Eqa '^#!.*\b(ba)?sh\b'; then echo "$file"; fi
done)

tool() { go tool -modfile=scripts/tools/go.mod "$@"; }
check_gofmt() {
	gofmt -l "${go_files[@]}" >"$tmp/unformatted"
	sed 's/$/: not formatted: run gofmt -w/' "$tmp/unformatted"
	[[ ! -s $tmp/unformatted ]]
}
check_vet() { go vet ./...; }
check_staticcheck() { tool staticcheck ./...; }
check_ginkgolinter() { tool ginkgolinter ./...; }
check_shellcheck() { shellcheck --external-sources "${scripts[@]}"; }
check_actionlint() { tool actionlint; }

checks=(gofmt vet staticcheck ginkgolinter shellcheck)
if [[ -d .github/workflows ]]; then checks+=(actionlint); fi

# Together, since each of them uses one core most of the time.
declare -A pids
for check in "${checks[@]}"; do
	(
		begin=$(date +%s%N)
		code=0
		"check_$check" >"$tmp/$check" 2>&1 || code=$?
		echo "$((($(date +%s%N) - begin) / 1000000))" >"$tmp/$check.ms"
		exit "$code"
	) &
	pids[$check]=$!
done
failed=()
for check in "${checks[@]}"; do
	if wait "${pids[$check]}"; then word=ok; else
		word=FAIL
		failed+=("$check")
	fi
	printf '%-4s  %-12s  %6d ms\n' "$word" "$check" "$(<"$tmp/$check.ms")"
	if [[ -s $tmp/$check ]]; then sed 's/^/      /' "$tmp/$check"; fi
done
if ((${#failed[@]})); then
	echo "lint: ${failed[*]} failed" >&2
	exit 1
fi
