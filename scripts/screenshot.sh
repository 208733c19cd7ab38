#!/bin/bash
# Take the picture of report.html that README.md opens with. `--help` has the rest.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

usage() {
	cat <<'EOF'
Usage: scripts/screenshot.sh [RUN [PNG]]

Opens RUN's report.html (out/latest) in a headless Chromium and writes the upper
part of the page to PNG (docs/report.png). WIDTH and HEIGHT are in pixels (1200
and 1010: down to the picture of the two hops).

The picture may have 300 KB. Chromium: apt-get install chromium.

Exit codes: 0, 1 the picture is too large or was not made, 2 usage.
EOF
}

case ${1-} in
-h | --help)
	usage
	exit 0
	;;
esac
fail() {
	echo "screenshot: $1" >&2
	exit "$2"
}
(($# <= 2)) || fail "it takes a run and a file (--help shows how)" 2
run=${1-out/latest} png=${2-docs/report.png}
[[ -f $run/report.html ]] || fail "$run has no report.html: name the folder of a run" 2
page=file://$(realpath "$run/report.html")

for browser in chromium chromium-browser google-chrome; do
	if command -v "$browser" >/dev/null; then break; fi
	browser=
done
[[ -n $browser ]] || fail "there is no Chromium: apt-get install chromium" 2

tmp=$(mktemp -d -t screenshot.XXXXXX)
trap 'rm -rf "$tmp"' EXIT
# Light colours whatever the desktop prefers, and no animation.
if ! "$browser" --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars \
	--disable-background-networking --disable-component-update --disable-sync --user-data-dir="$tmp/profile" \
	--blink-settings=preferredColorScheme=1 --force-prefers-reduced-motion --virtual-time-budget=2000 \
	--window-size="${WIDTH-1200},${HEIGHT-1010}" --screenshot="$tmp/report.png" "$page" >"$tmp/log" 2>&1 || [[ ! -s $tmp/report.png ]]; then
	cat "$tmp/log" >&2
	fail "Chromium made no picture" 1
fi
size=$(stat -c %s "$tmp/report.png")
((size <= 300000)) || fail "the picture has $size bytes, and 300000 are the most: set a smaller WIDTH or HEIGHT" 1
mv "$tmp/report.png" "$png"
echo "screenshot: $png, $size bytes"
