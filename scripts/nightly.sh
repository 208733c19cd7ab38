#!/bin/bash
# One night: judge the catalogue, say what changed since the last night of the
# same versions, keep the last runs. `--help` has the rest.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

usage() {
	cat <<'EOF'
Usage: scripts/nightly.sh [--claims LIST] [--out DIR] [--keep N] [--against RUN]

Judges the catalogue on a live cluster, compares the verdict with the last one
of the same claims and versions, and keeps the last N runs. "make nightly"
builds first and runs this. From cron, for example:

  0 2 * * *  cd /srv/twohop && make nightly >out/nightly.log 2>&1 || mail -s "twohop" me <out/nightly.log

  --claims LIST   claims, chapters or "all" (all)
  --out DIR       folder that holds the nights' runs (out/nightly)
  --keep N        how many runs to keep, at least 2 (30)
  --against RUN   compare with this run: a folder or an id in DIR

The variables of a run (IMAGES, ISTIO_VERSION, K8S_VERSION, KEEP, ...) hold here
too. TWOHOP names the program (bin/twohop).

What changed is printed, and left in DIR as diff.txt, diff.md and diff.json; they
are absent if there was nothing to compare with.

Exit codes: 0 nothing turned, 1 something did, 2 usage, 3 the environment
failed, 4 inconclusive, 130 interrupted. Without a run to compare with, the
verdict itself decides between 0 and 1.
EOF
}

fail() {
	echo "nightly: $*" >&2
	exit 2
}

claims=all out=out/nightly keep=30 against=
while (($#)); do
	case $1 in
	--claims | --out | --keep | --against)
		(($# > 1)) || fail "$1 needs a value (--help shows how)"
		printf -v "${1#--}" %s "$2"
		shift 2
		;;
	-h | --help)
		usage
		exit 0
		;;
	*) fail "unknown argument $1 (--help shows how)" ;;
	esac
done
if ! [[ $keep =~ ^[0-9]{1,4}$ ]] || ((10#$keep < 2)); then
	fail "--keep $keep is not a number from 2: with fewer runs there would be nothing to compare with"
fi
twohop=${TWOHOP:-bin/twohop}
command -v "$twohop" >/dev/null || fail "$twohop is not there: make build makes it"

# newest prints the id of the newest run, if there is one.
newest() {
	if [[ -L $out/latest ]]; then basename "$(readlink "$out/latest")"; fi
}

# prune removes the oldest runs but the last ones, and never what the next night
# is compared with: $1, and the newest run that judged every claim.
prune() {
	local newest_judged dir surplus
	newest_judged=$("$twohop" runs --out "$out" --result as-expected,different --quiet)
	newest_judged=${newest_judged%%$'\n'*}
	local runs=("$out"/[0-9]*T[0-9]*Z-*/)
	surplus=$((${#runs[@]} - 10#$keep))
	((surplus > 0)) || return 0
	for dir in "${runs[@]:0:surplus}"; do
		dir=${dir%/}
		case ${dir##*/} in
		"$newest_judged" | "${1##*/}") continue ;;
		esac
		echo "nightly: removing ${dir##*/}, which is older than the last $keep runs"
		rm -rf -- "$dir"
	done
}

mkdir -p "$out"
rm -f "$out"/diff.txt "$out"/diff.md "$out"/diff.json
before=$(newest)
verdict=0
"$twohop" run --out "$out" --claims "$claims" || verdict=$?
run=$(newest)
if [[ -z $run || $run == "$before" ]]; then
	echo "nightly: the run left no folder in $out (exit $verdict)" >&2
	exit "$((verdict == 0 ? 3 : verdict))"
fi
if ((verdict != 0 && verdict != 1 && verdict != 4)); then
	prune ""
	echo "nightly: $run did not come to a verdict (exit $verdict), so it is compared with nothing" >&2
	exit "$verdict"
fi

if [[ -z $against ]]; then
	against=$("$twohop" runs --out "$out" --like "$run" --quiet)
	against=${against%%$'\n'*}
fi
prune "$against"
if [[ -z $against ]]; then
	echo "nightly: no earlier run in $out judged these claims on these versions: there is nothing to compare $run with"
	exit "$verdict"
fi

turned=
for format in text:txt markdown:md json:json; do
	code=0 file=$out/diff.${format#*:}
	"$twohop" diff --out "$out" "$against" "$run" -o "${format%:*}" >"$file" || code=$?
	if ((code > 1 || ${turned:=$code} != code)); then
		rm -f "$out"/diff.txt "$out"/diff.md "$out"/diff.json
		echo "nightly: $run could not be compared with $against (exit $code)" >&2
		exit "$((code > 1 ? code : 3))"
	fi
done
cat "$out/diff.txt"

if ((verdict == 4)); then
	echo "nightly: $run is inconclusive: not every claim could be judged"
	exit 4
fi
if ((turned == 0 && verdict == 1)); then
	echo "nightly: nothing changed since $against, where claims were not as expected either"
fi
exit "$turned"
