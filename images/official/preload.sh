#!/bin/bash
# Runs in a container of a node image while another is derived from it: imports
# the images of the archive into containerd's store, gives them the names of
# the list ("from to" on each line), and prints the name and digest of every
# image that the node then has. They are not unpacked, since layers cannot be
# stacked on top of a container's own.
set -o errexit -o nounset -o pipefail
archive=$1 names=$2

containerd --log-level error >/tmp/containerd.log 2>&1 &
daemon=$!
trap 'cat /tmp/containerd.log >&2' ERR
for _ in {1..100}; do
	if ctr version >/dev/null 2>&1; then break; fi
	if ! kill -0 "$daemon" 2>/dev/null; then
		echo "containerd ended at once" >&2
		false
	fi
	sleep 0.1
done
ctr --namespace=k8s.io images import --label=io.cri-containerd.pinned=pinned --no-unpack "$archive" >&2
while read -r from to; do
	[[ $from == "$to" ]] || ctr --namespace=k8s.io images tag --force "$from" "$to" >&2
done <"$names"
# The names that they have on the host would only be noise in the node.
comm -23 <(cut -d' ' -f1 "$names" | sort -u) <(cut -d' ' -f2 "$names" | sort -u) | while read -r name; do
	ctr --namespace=k8s.io images rm "$name" >&2
done
ctr --namespace=k8s.io images ls | awk 'NR > 1 {print $1, $3}'
kill "$daemon"
wait "$daemon" || true
rm -rf /tmp/containerd.log /var/lib/containerd/tmpmounts
