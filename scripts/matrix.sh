#!/bin/bash
# The nightly matrix as JSON lists, for $GITHUB_OUTPUT. `--help` has the rest.
set -o errexit -o nounset -o pipefail

usage() {
	cat <<'EOF'
Usage: scripts/matrix.sh ISTIO KUBERNETES

Prints istio=[...] and kubernetes=[...]: the one version that is named, or all of
ours for an empty one. A version is data and never becomes JSON by being pasted
into it: what does not look like a version is refused.

Exit codes: 0, 2 usage.
EOF
}

# The newest patches that were seen. 1.30 is the line that the guide was verified with. It supports Kubernetes 1.32
# to 1.36, and these are the oldest and the newest node image within that range
# that kind v0.33.0 was published with: their digests are pinned.
istio=(1.30.8 1.31.4)
kubernetes=(v1.34.11 v1.36.4)

case ${1-} in
-h | --help)
	usage
	exit 0
	;;
esac
fail() {
	echo "matrix: $*" >&2
	exit 2
}
(($# == 2)) || fail "it takes two versions, of which either may be empty (--help shows how)"
if [[ -n $1 ]]; then
	[[ $1 =~ ^[0-9]+\.[0-9]+\.[0-9]+(-[a-z0-9.]+)?$ ]] || fail "this is no Istio release such as 1.30.0: $1"
	istio=("$1")
fi
if [[ -n $2 ]]; then
	[[ $2 =~ ^v[0-9]+\.[0-9]+\.[0-9]+$ ]] || fail "this is no Kubernetes version such as v1.36.4: $2"
	kubernetes=("$2")
fi
# list NAME VERSION…: none of them holds a quote.
list() {
	local all
	printf -v all ',"%s"' "${@:2}"
	echo "$1=[${all#,}]"
}
list istio "${istio[@]}"
list kubernetes "${kubernetes[@]}"
