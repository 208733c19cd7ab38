#!/usr/bin/env bash
# What a run makes of bad days, on a real engine: interruptions at each phase,
# a killed run, a node that does not boot, an Istio and a pod that never start.
# After each it looks at the exit code, at verdict.json and at what is left.
#
# Usage: scripts/bad-days.sh [case ...]     (without a case: all of them)
set -euo pipefail
cd "$(dirname "$0")/.."

cluster=twohop-badday
out=$(mktemp -d)
trap '[[ ${KEEP_OUT:-} == 1 ]] && echo "kept: $out" || rm -rf "$out"' EXIT
engine=${ENGINE:-$(command -v podman >/dev/null && echo podman || echo docker)}
failures=0

# run_until WHEN SIGNAL: starts a run and sends SIGNAL once its output matches
# WHEN; the run's exit code is in $code.
run_until() {
	local when=$1 signal=$2
	: >"$out/log"
	bin/twohop run --cluster "$cluster" --out "$out/runs" --claims G1,G3 >"$out/log" 2>&1 &
	local pid=$!
	until grep -q -- "$when" "$out/log"; do
		kill -0 "$pid" 2>/dev/null || break
		sleep 0.05
	done
	kill -"$signal" "$pid" 2>/dev/null || true
	code=0
	wait "$pid" || code=$?
}

# expect WHAT WANTED SEEN
expect() {
	if [[ $2 == "$3" ]]; then
		printf '    ok    %s: %s\n' "$1" "$3"
	else
		printf '    FAIL  %s: expected %s, saw %s\n' "$1" "$2" "$3"
		failures=$((failures + 1))
	fi
}

verdict() { bin/twohop report "$out/runs/latest" --print-only -o json | jq -r "$1"; }

nothing_left() {
	expect "containers left" "" "$("$engine" ps -a --format '{{.Names}}' | grep "^$cluster" | tr '\n' ' ' || true)"
	expect "networks left" "" "$("$engine" network ls --format '{{.Name}}' | grep -x "$cluster" || true)"
	expect "kubeconfig left" "no" "$([[ -e ${XDG_CACHE_HOME:-$HOME/.cache}/twohop/$cluster.kubeconfig ]] && echo yes || echo no)"
}

interrupted() {
	local name=$1 when=$2 signal=$3
	echo "$name"
	run_until "$when" "$signal"
	expect "exit code" 130 "$code"
	expect "result" interrupted "$(verdict .result)"
	expect "claims that pretend to have run" 0 "$(verdict '[.claims[] | select(.verdict=="supported" and (.evidence|length)==0)] | length')"
	nothing_left
}

case_cluster() { interrupted "SIGINT while the cluster comes up" "kind cluster" INT; }
case_istio() { interrupted "SIGTERM while Istio is installed" "Istio …" TERM; }
case_lab() { interrupted "SIGINT while the lab comes up" "lab …" INT; }
case_claims() { interrupted "SIGTERM among the claims" "1/2" TERM; }

case_kill() {
	echo "kill -9 among the claims, and the next run"
	run_until "1/2" KILL
	expect "exit code" 137 "$code"
	code=0
	bin/twohop run --cluster "$cluster" --out "$out/runs" --claims G1 >"$out/log" 2>&1 || code=$?
	expect "exit code of the next run" 0 "$code"
	nothing_left
}

failed() {
	local name=$1 says=$2
	shift 2
	echo "$name"
	code=0
	bin/twohop run --cluster "$cluster" --out "$out/runs" --claims G1 "$@" >"$out/log" 2>&1 || code=$?
	expect "exit code" 3 "$code"
	expect "result" failed "$(verdict .result)"
	expect "claims run" 0 "$(verdict '[.claims[] | select(.verdict!="not-run")] | length')"
	local message
	message=$(verdict .message)
	expect "message says \"$says\"" yes "$(grep -qi -- "$says" <<<"$message" && echo yes || echo "no: $message")"
	printf '    says  %.300s\n' "$message"
	nothing_left
}

workload() { "$engine" images --format '{{.Repository}}:{{.Tag}}' | grep -m1 twohop/workload; }
case_node() { failed "a node image that does not boot" "did not come up" --replace-image "node=$(workload)"; }
case_not_istio() { failed "an Istio that never starts" "istio cannot become ready" --replace-image istio-hub=localhost/no-such-hub; }
case_pod() { failed "a pod of the lab that never starts" "no-such-image" --replace-image client=localhost/no-such-image:1; }

cases=("$@")
[[ $# -gt 0 ]] || cases=(cluster istio lab claims kill node not_istio pod)
for c in "${cases[@]}"; do
	"case_$c"
done
echo
if [[ $failures -gt 0 ]]; then
	echo "$failures of the expectations failed"
	exit 1
fi
echo "all as expected"
