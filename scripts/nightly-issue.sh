#!/bin/bash
# Opens the one issue about verdicts that turned, or brings it up to date.
# `--help` has the rest.
set -o errexit -o nounset -o pipefail

usage() {
	cat <<'EOF'
Usage: scripts/nightly-issue.sh [--url URL] DIR

Reads what changed in the night on each version, DIR/*/diff.md as nightly.sh
leaves it, and, if a verdict turned, opens an issue with the label "nightly". If
such an issue is open already, its text is replaced instead; a comment is added
only when something else turned than it says, so that nobody is told twice.

  --url URL   where the night's run can be read

It needs gh, signed in, in a repository or with GH_REPO.

Exit codes: 0 done or nothing turned, 2 usage, anything else is gh's.
EOF
}

fail() {
	echo "nightly-issue: $*" >&2
	exit 2
}

url='' dir=''
while (($#)); do
	case $1 in
	--url)
		(($# > 1)) || fail "--url needs a value (--help shows how)"
		url=$2
		shift
		;;
	-h | --help)
		usage
		exit 0
		;;
	-*) fail "unknown argument $1 (--help shows how)" ;;
	*)
		[[ -z $dir ]] || fail "one folder is read, not $dir and $1"
		dir=$1
		;;
	esac
	shift
done
[[ -n $dir ]] || fail "which folder holds the night's diffs? (--help shows how)"
if [[ ! -d $dir ]]; then # no version had anything to compare with
	echo "nightly-issue: there is no $dir, so nothing was compared"
	exit 0
fi

tmp=$(mktemp -d -t nightly-issue.XXXXXX)
trap 'rm -rf "$tmp"' EXIT

# The table of turned verdicts of each version.
for file in "$dir"/*/diff.md; do
	[[ -f $file ]] || continue
	awk '/^### /{ inside = ($0 == "### Verdicts that changed"); next } inside' "$file" >"$tmp/turned"
	grep -q '^|' "$tmp/turned" || continue
	cell=$(basename "$(dirname "$file")")
	printf '\n### %s\n' "${cell#diff-}" >>"$tmp/tables"
	cat "$tmp/turned" >>"$tmp/tables"
	# Claim and verdicts: reasons hold values that differ from night to night.
	awk -F'|' -v cell="$cell" '/^\|/ { print cell, $2, $3 }' "$tmp/turned" >>"$tmp/what"
done
if [[ ! -s $tmp/tables ]]; then
	echo "nightly-issue: no verdict turned"
	exit 0
fi
command -v gh >/dev/null || fail "gh is not there: the GitHub CLI opens the issue"

mark="<!-- turned: $(sha256sum <"$tmp/what" | cut -c1-16) -->"
{
	echo "$mark"
	echo "Verdicts are not what they were in the last green night of the same versions."
	if [[ -n $url ]]; then
		echo "[The night]($url) has the evidence of each claim in its artifacts."
	fi
	cat "$tmp/tables"
} >"$tmp/body"

number=$(gh issue list --state open --label nightly --limit 1 --json number --jq '.[0].number // empty')
if [[ -z $number ]]; then
	gh label create nightly --description "A verdict turned in the night" --color D93F0B --force
	gh issue create --title "Nightly: a verdict turned" --label nightly --body-file "$tmp/body"
	exit 0
fi
gh issue view "$number" --json body --jq .body >"$tmp/before"
gh issue edit "$number" --body-file "$tmp/body"
if ! grep -qF -- "$mark" "$tmp/before"; then
	{
		echo "What turned is no longer what this issue said. Now:"
		cat "$tmp/tables"
	} >"$tmp/comment"
	gh issue comment "$number" --body-file "$tmp/comment"
fi
