#!/bin/bash
# What action.yml does. It runs on GitHub's Linux and macOS machines; inputs come by
# environment, never as a part of a command.
set -o errexit -o nounset -o pipefail

fail() {
	echo "::error title=twohop audit::$*" >&2
	exit 3
}

# fetch gets VERSION of REPOSITORY into RUNNER_TEMP and checks it against the release's own
# checksums: that finds a broken download, not a release that somebody else made.
fetch() {
	local os arch archive
	case $RUNNER_OS in
	Linux) os=linux ;;
	macOS) os=darwin ;;
	*) fail "there is no release for $RUNNER_OS: use a Linux or macOS runner" ;;
	esac
	case $RUNNER_ARCH in
	X64) arch=amd64 ;;
	ARM64) arch=arm64 ;;
	*) fail "there is no release for $RUNNER_ARCH" ;;
	esac
	[[ $VERSION =~ ^v[0-9A-Za-z.-]+$ ]] || fail "\"$VERSION\" is no release: set the input version, such as v1.2.3, if the action is not used by a release's tag"
	archive=twohop_${VERSION}_${os}_${arch}.tar.gz
	mkdir -p "$RUNNER_TEMP/twohop"
	cd "$RUNNER_TEMP"
	gh release download "$VERSION" --repo "$REPOSITORY" --pattern "$archive" --pattern SHA256SUMS --clobber
	awk -v name="$archive" '$2 == name' SHA256SUMS >wanted
	[[ -s wanted ]] || fail "SHA256SUMS does not list $archive"
	if command -v sha256sum >/dev/null; then sha256sum --check --strict wanted; else shasum -a 256 --check wanted; fi ||
		fail "$archive is not what SHA256SUMS says"
	tar -xzf "$archive" -C twohop
}

audit() {
	local args=() path sarif=$RUNNER_TEMP/twohop-audit.sarif code=0
	while IFS= read -r path; do
		if [[ -n $path ]]; then args+=(--filename "$path"); fi
	done <<<"$PATHS"
	((${#args[@]})) || fail "the input paths names nothing"
	args+=(--fail-on "$FAIL_ON")
	if [[ -n $ISTIO ]]; then args+=(--istio "$ISTIO"); fi
	if [[ -n $EXCEPTIONS ]]; then args+=(--exceptions "$EXCEPTIONS"); fi
	"$RUNNER_TEMP/twohop/twohop" audit "${args[@]}" --output sarif >"$sarif" || code=$?
	if ((code > 1)); then
		echo "::error title=twohop audit::the audit could not be made (exit $code); its words are above" >&2
		exit "$code"
	fi
	"$RUNNER_TEMP/twohop/twohop" audit "${args[@]}" --output markdown >>"$GITHUB_STEP_SUMMARY" || true
	printf 'exit-code=%s\nsarif=%s\n' "$code" "$sarif" >>"$GITHUB_OUTPUT"
}

case ${1-} in
fetch | audit) "$1" ;;
*)
	echo "Usage: action.sh fetch|audit" >&2
	exit 2
	;;
esac
