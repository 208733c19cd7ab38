#!/bin/bash
# Builds a release: archives, checksums, SBOMs and krew's manifest. `--help` has the rest.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

usage() {
	cat <<'TEXT'
Usage: scripts/release.sh [--out DIR]

Writes into DIR (out/release), which it empties first:

  twohop_VERSION_OS_ARCH.tar.gz        twohop, kubectl-twohop, twohop-computed-LINE, README.md
  twohop_VERSION_OS_ARCH.spdx.json     what each of its binaries was compiled from (SPDX 2.3)
  twohop.yaml                          krew's manifest
  SHA256SUMS                           of all these

The same commit and the same Go release make the same bytes. "make release" runs this.

  PLATFORMS     such as linux/amd64: all of linux/amd64 linux/arm64 darwin/amd64 darwin/arm64
  ISTIO_LINES   lines whose code goes into the archives, such as 1.31: all of images/istio-*
  VERSION       git describe, or v0.0.0-gCOMMIT without a tag
  RELEASE_URL   address of the folder that serves the archives, for krew's manifest
  SOURCE_DATE_EPOCH   time of all files: the commit's

The first build for a platform compiles istiod: minutes of CPU time.

Exit codes: 0 built, 2 usage, 3 a program is missing, 1 it does not compile.
TEXT
}

fail() {
	echo "release: $2" >&2
	exit "$1"
}

out=out/release
while (($#)); do
	case $1 in
	--out)
		(($# > 1)) || fail 2 "--out needs a value (--help shows how)"
		out=$2
		shift 2
		;;
	-h | --help)
		usage
		exit 0
		;;
	*) fail 2 "unknown argument $1 (--help shows how)" ;;
	esac
done

for program in go git tar gzip sha256sum; do
	command -v "$program" >/dev/null || fail 3 "$program is not there: install it"
done
tar --version | grep -q 'GNU tar' || fail 3 "tar is not GNU tar, which can leave out owners and times: install it"

read -ra platforms <<<"${PLATFORMS:-linux/amd64 linux/arm64 darwin/amd64 darwin/arm64}"
for platform in "${platforms[@]}"; do
	[[ $platform =~ ^(linux|darwin)/(amd64|arm64)$ ]] || fail 2 "PLATFORMS: $platform is none of linux/amd64, linux/arm64, darwin/amd64, darwin/arm64"
done
# The name is not LINES: that is the height of a terminal.
if [[ -z ${ISTIO_LINES-} ]]; then ISTIO_LINES=$(printf '%s\n' images/istio-*/go.mod | sed 's,images/istio-\(.*\)/go.mod,\1,'); fi
mapfile -t lines < <(tr -s ' ' '\n' <<<"$ISTIO_LINES")
for line in "${lines[@]}"; do
	[[ -f images/istio-$line/go.mod ]] || fail 2 "ISTIO_LINES: there is no images/istio-$line"
done
if [[ -z ${VERSION-} ]]; then
	VERSION=$(git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null) || VERSION=v0.0.0-g$(git describe --always --dirty --exclude '*')
fi
[[ $VERSION =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || fail 2 "VERSION $VERSION is not one such as v1.2.3, as krew demands"
if [[ -z ${RELEASE_URL-} ]]; then
	RELEASE_URL=https://release-url.invalid/$VERSION
	if [[ -n ${GITHUB_REPOSITORY-} ]]; then RELEASE_URL=$GITHUB_SERVER_URL/$GITHUB_REPOSITORY/releases/download/$VERSION; fi
fi
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}

# Nothing but the source decides what is compiled.
export CGO_ENABLED=0 GOWORK=off GOAMD64=v1 GOARM64=v8.0
unset GOFLAGS GOEXPERIMENT

tmp=$(mktemp -d -t release.XXXXXX)
trap 'rm -rf "$tmp"' EXIT

# computed OS ARCH LINE FILE: the program with istiod's code, as internal/computed
# builds it, but without the paths of this machine.
computed() {
	(cd images && GOOS=$1 GOARCH=$2 GOFLAGS=-buildvcs=false go build -trimpath -modfile "istio-$3/go.mod" -pgo=off \
		-tags no_btrfs,no_devmapper,no_zfs,disable_pgv \
		-ldflags "-s -w -X istio.io/istio/pkg/version.buildVersion=$3.0" -o "$4" ./computed)
}

# pack FOLDER ARCHIVE: the same files make the same archive. Links are refused: krew
# would not unpack them.
pack() {
	[[ -z $(find "$1" -mindepth 1 ! -type f) ]] || fail 1 "$1 holds something else than files"
	(cd "$1" && LC_ALL=C tar --create --format=ustar --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -- *) |
		gzip --no-name >"$2"
}

go build -o "$tmp/packaging" ./packaging
rm -rf "$out"
mkdir -p "$out"
archives=()
for platform in "${platforms[@]}"; do
	os=${platform%/*} arch=${platform#*/}
	name=twohop_${VERSION}_${os}_${arch}
	stage=$tmp/$name
	mkdir "$stage"
	GOOS=$os GOARCH=$arch go build -trimpath -ldflags '-s -w' -o "$stage/twohop" ./cmd/twohop
	# What a cluster's nightly audit needs besides: deploy/audit.
	if [[ $os == linux ]]; then GOOS=$os GOARCH=$arch go build -trimpath -ldflags '-s -w' -o "$stage/twohop-publish" ./deploy/audit/publish; fi
	for line in "${lines[@]}"; do computed "$os" "$arch" "$line" "$stage/twohop-computed-$line"; done
	"$tmp/packaging" sbom -name "$name" "$stage"/twohop* >"$out/$name.spdx.json"
	install -m 755 packaging/kubectl-twohop "$stage/kubectl-twohop"
	install -m 644 README.md "$stage/README.md"
	for licence in LICENSE*; do
		if [[ -f $licence ]]; then install -m 644 "$licence" "$stage/$licence"; fi
	done
	chmod 755 "$stage"/twohop*
	pack "$stage" "$out/$name.tar.gz"
	rm -rf "$stage"
	archives+=("$out/$name.tar.gz")
	echo "release: $name.tar.gz, $(($(stat -c %s "$out/$name.tar.gz") / 1000000)) MB"
done
"$tmp/packaging" krew -version "$VERSION" -url "$RELEASE_URL" "${archives[@]}" >"$out/twohop.yaml"
(cd "$out" && sha256sum -- *.tar.gz *.spdx.json twohop.yaml >SHA256SUMS)
if [[ $VERSION == *-dirty ]]; then echo "release: the source has changes that no commit has: do not publish this"; fi
if [[ $RELEASE_URL == *.invalid/* ]]; then echo "release: twohop.yaml names no place that serves the archives: set RELEASE_URL before it is published"; fi
echo "release: $VERSION is in $out"
