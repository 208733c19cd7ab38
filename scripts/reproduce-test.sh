#!/bin/bash
# Runs the scripts that a run leaves for people (out/<run>/reproduce) against a
# kept cluster, and checks that each prints what its claim saw and that the lab
# is afterwards as it was. Holds the cluster's lock while they run.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

claims=(G1 G2-control H2-secret-ns H2-secret-ca F-expired)
# What each prints: the responses in their order, and texts.
declare -A responses=(
	[G1]='^200 503 $' [G2-control]='^400 200 $' [H2-secret-ns]='^503 200 $' [H2-secret-ca]='^503 200 $'
	[F-expired]='^(200 )+400 (200 )+$'
)
declare -A texts=(
	[G1]='"response_flags":"UC"' [G2-control]='No required SSL certificate was sent'
	[H2-secret-ns]='secret twohop-egress/elsewhere-[0-9a-f]+ not found' [H2-secret-ca]='CERTIFICATE_VERIFY_FAILED'
	[F-expired]='FAILED:certificate has expired'
)

tmp=$(mktemp -d -t reproduce.XXXXXX)
trap 'rm -rf "$tmp"' EXIT
fail() {
	echo "reproduce-test: $*" >&2
	exit 1
}

# the_run: the folder that a run's report names.
the_run() { sed -n 's,^Files  *\(out/[^ ]*\).*,\1,p' "$1"; }

list=$(IFS=,; echo "${claims[*]}")
KEEP=1 bin/twohop run --claims "$list" >"$tmp/run" || { cat "$tmp/run" >&2; fail "the run did not end as expected"; }
run=$(the_run "$tmp/run")
KUBECONFIG=$(bin/twohop kubeconfig)
export KUBECONFIG

# objects: all that the five scripts may touch, without what the API server adds.
objects() {
	for kind in destinationrules virtualservices serviceentries gateways.networking.istio.io secrets services; do
		for namespace in twohop-app twohop-egress twohop-unbound twohop-partner; do
			kubectl get "$kind" -n "$namespace" -o yaml
		done
	done | sed -E '/^ +(resourceVersion|uid|generation|creationTimestamp): /d'
}

exec {lock}>"$(dirname "$KUBECONFIG")/${CLUSTER:-twohop}.lock"
flock "$lock"
kubectl get secret partner-ca -n twohop-partner -o name >"$tmp/null" || fail "the lab has no partner-ca: another run has taken it over; try again"
objects >"$tmp/before"
for claim in "${claims[@]}"; do
	begin=$(date +%s)
	sh "$run/reproduce/$claim.sh" >"$tmp/$claim" 2>&1 || { cat "$tmp/$claim" >&2; fail "$claim.sh ended with $?"; }
	got=$(grep -o '"http_code":[0-9]*' "$tmp/$claim" | sed 's/.*://; s/^0$/000/' | tr '\n' ' ')
	[[ $got =~ ${responses[$claim]} ]] || { cat "$tmp/$claim" >&2; fail "$claim.sh got the responses $got; want ${responses[$claim]}"; }
	grep -Eq -e "${texts[$claim]}" "$tmp/$claim" || { cat "$tmp/$claim" >&2; fail "$claim.sh does not show: ${texts[$claim]}"; }
	objects >"$tmp/after"
	diff "$tmp/before" "$tmp/after" >"$tmp/diff" || { grep -v -i 'key:\|crt:' "$tmp/diff" >&2; fail "$claim.sh left the lab changed"; }
	printf 'ok    %-12s  %3d s  %s\n' "$claim" $(($(date +%s) - begin)) "$got"
done
exec {lock}>&-

# The lab is at its baseline: a run takes it as it is.
KEEP=1 bin/twohop run --claims G1 >"$tmp/run" || { cat "$tmp/run" >&2; fail "after the scripts, G1 is not as expected"; }
! grep 'made anew' "$tmp/run" "$(the_run "$tmp/run")"/*.log >&2 || fail "the lab was made anew after the scripts"
echo "reproduce-test: ${#claims[@]} scripts reproduce what their claims saw"
