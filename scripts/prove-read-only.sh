#!/bin/bash
# Proves by the API server's own audit log that a live audit reads only: it creates
# nothing but reviews, tokens and port-forwards, and no verb is about Secrets. Brings up
# a cluster of its own and removes it.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

export CLUSTER=${CLUSTER:-twohop-read-only}
tmp=$(mktemp -d -t read-only.XXXXXX)
cleanup() {
	bin/twohop down >/dev/null 2>&1 || true
	rm -rf "$tmp"
}
trap cleanup EXIT
fail() {
	echo "prove-read-only: $*" >&2
	exit 1
}

cp scripts/read-only/policy.yaml "$tmp/policy.yaml"
sed "s,POLICY,$tmp/policy.yaml," scripts/read-only/kind-config.yaml >"$tmp/kind-config.yaml"
export KIND_CONFIG=$tmp/kind-config.yaml
KEEP=1 bin/twohop run --claims G1 >"$tmp/run" 2>&1 || { cat "$tmp/run" >&2; fail "the lab did not come up"; }
kubeconfig=$(bin/twohop kubeconfig)

code=0
bin/twohop audit --live --kubeconfig "$kubeconfig" -o json >"$tmp/report.json" || code=$?
((code == 0 || code == 1)) || fail "the audit ended with $code"
# An object that is made after it: what the log lacks then was not asked.
kubectl --kubeconfig "$kubeconfig" create namespace after-the-audit >/dev/null

engine=podman
command -v podman >/dev/null || engine=docker
for _ in $(seq 50); do
	"$engine" exec "$CLUSTER-control-plane" cat /var/log/kubernetes/audit.log >"$tmp/audit.log"
	grep -q '"after-the-audit"' "$tmp/audit.log" && break
	sleep 0.1
done
grep -q '"after-the-audit"' "$tmp/audit.log" || fail "the audit log did not get the object that was made after the audit"

python3 - "$tmp/audit.log" <<'PYTHON'
import collections, json, sys

# What a live audit may create: none of it is stored.
CREATES = {
    ("authorization.k8s.io", "subjectaccessreviews", ""), ("authorization.k8s.io", "selfsubjectaccessreviews", ""),
    ("authorization.k8s.io", "selfsubjectrulesreviews", ""), ("authentication.k8s.io", "selfsubjectreviews", ""),
    ("", "pods", "portforward"), ("", "serviceaccounts", "token"),
}
asked, wrong = collections.Counter(), []
for line in open(sys.argv[1]):
    e = json.loads(line)
    if not e.get("userAgent", "").startswith("twohop-audit"):
        continue
    o = e.get("objectRef", {})
    what = (o.get("apiGroup", ""), o.get("resource", ""), o.get("subresource", ""))
    asked[(e["verb"], *what)] += 1
    # A port-forward is a get or a create, by the protocol that carries it.
    if what[1] == "secrets" or e["verb"] not in ("get", "list") and not (e["verb"] == "create" and what in CREATES):
        wrong.append((e["verb"], *what))
for (verb, group, resource, sub), n in sorted(asked.items()):
    print(f"{n:4d}  {verb:6s} {resource}{'/' + sub if sub else ''}{'.' + group if group else ''}")
if not asked:
    sys.exit("prove-read-only: the log has no request of the audit")
if wrong:
    sys.exit(f"prove-read-only: requests that do more than read: {wrong}")
print("prove-read-only: the audit created nothing but reviews and port-forwards, and asked for no Secret")
PYTHON
