#!/bin/bash
# Fetch the last green night's run of one cell. `--help` has the rest.
set -o errexit -o nounset -o pipefail

usage() {
	cat <<'EOF'
Usage: scripts/last-green.sh CELL DIR

Downloads the newest artifact "green-CELL" into DIR, if there is one that a night
of this repository's default branch uploaded. A name proves nothing: a pull
request of a fork whose branch is called like ours can upload an artifact of any
name. So the run that made it must be one of nightly.yaml, of this repository, of
its default branch, started by the schedule or by hand.

Needs gh, jq and GH_TOKEN (actions: read). GITHUB_REPOSITORY names the
repository.

Exit codes: 0 downloaded, or there is none; 2 usage; else gh's.
EOF
}

case ${1-} in
-h | --help)
	usage
	exit 0
	;;
esac
if (($# != 2)) || [[ ! $1 =~ ^[A-Za-z0-9.-]+$ ]]; then
	echo "last-green: it takes a cell, such as istio-1.30.0-kubernetes-v1.36.4, and a folder (--help shows how)" >&2
	exit 2
fi
name=green-$1 dir=$2

export BRANCH
BRANCH=$(gh api "repos/$GITHUB_REPOSITORY" --jq .default_branch)

# The path may end in @ and a ref.
# shellcheck disable=SC2016 # jq's variables
ours='.head_repository.full_name == env.GITHUB_REPOSITORY
	and .head_branch == env.BRANCH
	and (.path | split("@")[0]) == ".github/workflows/nightly.yaml"
	and (.event == "schedule" or .event == "workflow_dispatch")'

candidates=$(gh api "repos/$GITHUB_REPOSITORY/actions/artifacts?name=$name&per_page=100" |
	jq -r --arg name "$name" '[.artifacts[] | select(.name == $name and (.expired | not))] | sort_by(.created_at) | reverse | .[].workflow_run.id')
for run in $candidates; do
	if gh api "repos/$GITHUB_REPOSITORY/actions/runs/$run" | jq -e "$ours" >/dev/null; then
		gh run download "$run" --repo "$GITHUB_REPOSITORY" --name "$name" --dir "$dir"
		echo "last-green: $name of run $run"
		exit 0
	fi
	echo "last-green: $name of run $run is passed over: it is not a night of $BRANCH"
done
echo "last-green: there is no $name"
