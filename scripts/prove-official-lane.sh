#!/bin/bash
# Proves the official lane where no container registry is in reach: a registry
# on loopback serves this project's own images under the official names, and
# the harness prepares them from there, in a podman storage and a cache of its
# own. Nothing of the machine's images, clusters or caches is touched; all of it
# is gone afterwards, but for the folder of the run.
#
#   scripts/prove-official-lane.sh          image preparation, and what it refuses
#   scripts/prove-official-lane.sh --run    besides, judge CLAIMS on a cluster
#
# CLUSTER   kind's name of the cluster (twohop-official)
# CLAIMS    the claims to judge (those of `twohop run`)
# OUT       where the run's folder goes (out/official)
#
# The stand-in of kindest/node is pinned by its own digest, and must be refused
# under another one. What it cannot prove: the content of the real images. The node is this
# project's with its own CNI, and the proxy is upstream Envoy, which its label says.
set -o errexit -o nounset -o pipefail

run=false
case ${1-} in
'') ;;
--run) run=true ;;
*)
	echo "usage: $0 [--run]" >&2
	exit 2
	;;
esac

root=$(cd "$(dirname "$0")/.." && pwd)
cluster=${CLUSTER:-twohop-official}
out=${OUT:-$root/out/official}
cd "$root"
# Only what this script says decides.
unset IMAGES ISTIO_VERSION K8S_VERSION ENVOY_VERSION REGISTRY KEEP CLUSTER OUT
# shellcheck source=versions.env
. ./versions.env
# shellcheck source=versions/1.31.env
. "./versions/$ISTIO_VERSION.env"

say() { echo "prove-official-lane: $*"; }
fail() {
	say "FAILED: $*" >&2
	exit 1
}

command -v podman >/dev/null || fail "this needs podman, whose storage can be moved: install it"
conf=${XDG_CACHE_HOME:-$HOME/.cache}/twohop/containers.conf
podman=(podman)
if [[ -f $conf ]]; then podman=(env "CONTAINERS_CONF=$conf" podman); fi

tmp=$(mktemp -d -t prove-official.XXXXXX)
registry_pid=
kept=() # images that this script made in the machine's storage

# A podman storage and a cache of its own, for what is proven.
# Kubernetes is the source lane's, whose node stands in.
own=(env "CONTAINERS_STORAGE_CONF=$tmp/storage.conf" "XDG_CACHE_HOME=$tmp/cache" ENGINE=podman NO_INSTALL=1 "K8S_VERSION=$K8S_VERSION")

stop_registry() {
	[[ -n $registry_pid ]] || return 0
	kill "$registry_pid" 2>/dev/null || true
	wait "$registry_pid" 2>/dev/null || true
	registry_pid=
}

clean_up() {
	status=$?
	trap - EXIT
	trap '' INT TERM
	set +o errexit
	stop_registry
	if $run && [[ -d $tmp/cache ]]; then
		"${own[@]}" timeout 120 "$tmp/twohop" down --cluster "$cluster" >>"$tmp/log" 2>&1
	fi
	for image in "${kept[@]}"; do "${podman[@]}" image rm "$image" >>"$tmp/log" 2>&1; done
	if [[ -d $tmp/storage ]]; then
		"${own[@]}" timeout 120 podman rm --all --force --volumes >>"$tmp/log" 2>&1
		"${own[@]}" timeout 120 podman image rm --all --force >>"$tmp/log" 2>&1
		if mountpoint -q "$tmp/storage/overlay"; then umount "$tmp/storage/overlay"; fi
	fi
	if ((status)) && [[ -s $tmp/log ]]; then
		say "the last lines of the log:"
		tail -n 15 "$tmp/log" >&2
	fi
	rm -rf "$tmp"
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# expect CODE TEXT COMMAND…: the command must end with that code and say that.
expect() {
	local want=$1 text=$2 got=0
	shift 2
	timeout 300 "$@" >"$tmp/said" 2>&1 || got=$?
	cat "$tmp/said" >>"$tmp/log"
	((got == want)) || fail "exit code $got, not $want: $* said: $(tail -n 3 "$tmp/said")"
	grep -Fq -- "$text" "$tmp/said" || fail "\"$text\" is not in what $* said: $(tail -n 3 "$tmp/said")"
	say "as it must be: exit code $got, \"$(grep -F -- "$text" "$tmp/said" | tail -n 1 | cut -c1-300)\""
}

say "compiling the harness and the registry"
go build -o "$tmp/twohop" ./cmd/twohop
if $run; then go test -c -o "$tmp/suites.test" ./suites; fi
go -C images/registry build -o "$tmp/registry" .

say "the source lane's images, which will stand in for the official ones"
timeout 1800 "$tmp/twohop" images --images source | tee "$tmp/source"
node=$(sed -n 's/.*node image \([^,]*\),.*/\1/p' "$tmp/source")
[[ -n $node ]] || fail "\`twohop images\` did not name the node image"
newest() { "${podman[@]}" images --sort created --filter "reference=localhost/twohop/$1" --format '{{.Repository}}:{{.Tag}}' | head -n 1; }
workload=$(newest workload) pilot=$(newest pilot) proxy=$(newest proxyv2)
tools=$(dirname "$(find "$(dirname "$conf")" -path '*/tools-*/istioctl' -newermt 2000-01-01 -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)")

mkdir "$tmp/context"
cp "$tools/istioctl" "$tmp/context/"
made() {
	local name=localhost/twohop-stand-in/$1:$$
	shift
	kept+=("$name")
	"${podman[@]}" "$@" "$name" >>"$tmp/log" 2>&1
}
say "stand-ins: istioctl, proxyv2 (labelled as upstream Envoy), kindest/node (Kubernetes' images only)"
printf 'FROM %s\nCOPY istioctl /usr/local/bin/istioctl\nUSER 1000:1000\nENTRYPOINT ["/usr/local/bin/istioctl"]\n' "$workload" >"$tmp/context/istioctl.containerfile"
made istioctl build --layers=false --pull=never -f "$tmp/context/istioctl.containerfile" "$tmp/context" -t
printf 'FROM %s\nLABEL twohop.upstream-envoy=true\n' "$proxy" >"$tmp/context/proxy.containerfile"
made proxyv2 build --layers=false --pull=never -f "$tmp/context/proxy.containerfile" "$tmp/context" -t
# kind applies this manifest; the stand-in's CNI is a file that it has already.
cat >"$tmp/strip.sh" <<'SCRIPT'
set -o errexit -o nounset -o pipefail
containerd --log-level error >/tmp/containerd.log 2>&1 &
daemon=$!
for _ in {1..100}; do if ctr version >/dev/null 2>&1; then break; fi; sleep 0.1; done
ctr --namespace=k8s.io images ls --quiet | { grep -v '^registry.k8s.io/' || true; } | while read -r name; do
	ctr --namespace=k8s.io images rm --sync "$name"
done
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: stand-in-cni, namespace: kube-system}\n' >/kind/manifests/default-cni.yaml
kill "$daemon"
wait "$daemon" || true
SCRIPT
kept_container=twohop-stand-in-$$
timeout 120 "${podman[@]}" run --privileged --name "$kept_container" --network none --tmpfs /tmp --tmpfs /run \
	-v "$tmp/strip.sh:/tmp/strip.sh:ro" --entrypoint /bin/bash "$node" /tmp/strip.sh >>"$tmp/log" 2>&1 || {
	"${podman[@]}" rm -f -v "$kept_container" >/dev/null
	fail "the stand-in of kindest/node could not be made"
}
made node commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' --change 'CMD []' "$kept_container"
"${podman[@]}" rm -f -v "$kept_container" >/dev/null

say "a registry on loopback"
cat >"$tmp/registry.yaml" <<YAML
version: 0.1
log: {level: info}
storage: {filesystem: {rootdirectory: $tmp/registry-data}}
http: {addr: "127.0.0.1:0"}
YAML
OTEL_TRACES_EXPORTER=none "$tmp/registry" serve "$tmp/registry.yaml" >"$tmp/registry.log" 2>&1 &
registry_pid=$!
for _ in {1..100}; do
	address=$(sed -n 's/.*listening on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$tmp/registry.log" | head -n 1)
	[[ -z $address ]] || break
	kill -0 "$registry_pid" 2>/dev/null || fail "the registry ended at once: $(tail -n 2 "$tmp/registry.log")"
	sleep 0.1
done
[[ -n $address ]] || fail "the registry did not say where it listens"

push() {
	say "push $2"
	timeout 300 "${podman[@]}" push --tls-verify=false --digestfile "$tmp/digest" "$1" "docker://$address/$2" >>"$tmp/log" 2>&1 || fail "podman cannot push $2"
}
push "$workload" "curlimages/curl:$OFFICIAL_CURL_VERSION"
push "$workload" "library/nginx:$OFFICIAL_NGINX_VERSION"
push "localhost/twohop-stand-in/istioctl:$$" "istio/istioctl:$OFFICIAL_ISTIO_VERSION"
push "localhost/twohop-stand-in/proxyv2:$$" "istio/proxyv2:$OFFICIAL_ISTIO_VERSION"
push "$pilot" "istio/pilot:$OFFICIAL_ISTIO_VERSION"
push "localhost/twohop-stand-in/node:$$" "kindest/node:$K8S_VERSION"
stand_in=OFFICIAL_DIGEST_STAND_IN=docker.io/kindest/node:$K8S_VERSION
own+=("$stand_in@$(<"$tmp/digest")")

cat >"$tmp/storage.conf" <<TOML
[storage]
driver = "overlay"
graphroot = "$tmp/storage"
runroot = "$tmp/run"
TOML

say "the official lane, from nothing"
begin=$SECONDS
expect 0 'official lane: node image localhost/twohop/node-official:' "${own[@]}" "$tmp/twohop" images --images official --registry "$address"
say "took $((SECONDS - begin)) s"
say "what it refuses, and what auto chooses"
expect 2 "ISTIO_VERSION=1.99.0 is a version that was released" "${own[@]}" "$tmp/twohop" images --images official --registry "$address" --istio 1.99.0
expect 2 "is a release line" "${own[@]}" "$tmp/twohop" images --images official --registry "$address" --istio 1.31
expect 2 "K8S_VERSION=v1.99.0 is a version that was released" "${own[@]}" "$tmp/twohop" images --images official --registry "$address" --kubernetes v1.99.0
expect 3 "of the pinned digest sha256:000" "${own[@]}" "$stand_in@sha256:$(printf '%064d' 0)" "$tmp/twohop" images --images official --registry "$address"
expect 0 "answers)" "${own[@]}" "$tmp/twohop" images --images auto --registry "$address"
stop_registry
say "the registry is gone: nothing is fetched from here on"
begin=$SECONDS
expect 0 "images: all there (localhost/twohop/node-official:" "${own[@]}" "$tmp/twohop" images --images official --registry "$address"
say "took $((SECONDS - begin)) s"
expect 3 "the container registry $address does not answer" "${own[@]}" "$tmp/twohop" images --images official --registry "$address" --istio 1.30.1

if $run; then
	say "a run on cluster $cluster"
	got=0
	"${own[@]}" timeout 900 "$tmp/twohop" run --images official --registry "$address" --cluster "$cluster" --out "$out" || got=$?
	((got == 0)) || fail "the run ended with exit code $got; its folder is in $out"
fi
say "PROVEN"
