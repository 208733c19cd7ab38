#!/bin/bash
# Runs in a container of the node image while it is built: imports the images
# of the archive into containerd's store, gives them the names of the list
# ("from to" on each line), and prints each name with its digest. They are
# unpacked here, so that no cluster has to do it when it starts: in /stage, a
# volume, since layers cannot be stacked on top of a container's own.
set -o errexit -o nounset -o pipefail
archive=$1 names=$2
root=/stage/containerd

# A layer that takes away files of one below does so by marks that the node image,
# being layers itself, cannot hold.
tar --list --verbose --file "$archive" | awk '/^-/ {print $NF}' | while read -r member; do
	# Of the archive's members, the layers are archives themselves.
	inside=$(tar --extract --to-stdout --file "$archive" "$member" | { tar --list 2>/dev/null || true; cat >/dev/null; })
	if removed=$(grep '\(^\|/\)\.wh\.' <<<"$inside"); then
		echo "an image removes files of a layer below it, and has to be built without them: $removed" >&2
		false
	fi
done

containerd --root "$root" --log-level error >/tmp/containerd.log 2>&1 &
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
ctr --namespace=k8s.io images import --label=io.cri-containerd.pinned=pinned "$archive" >&2
while read -r from to; do
	[[ $from == "$to" ]] || ctr --namespace=k8s.io images tag --force "$from" "$to" >&2
done <"$names"
# Names that the list does not ask for would only be noise in the node.
ctr --namespace=k8s.io images ls | awk 'NR > 1 {print $1}' | while read -r name; do
	cut -d' ' -f2 "$names" | grep -Fxq "$name" || ctr --namespace=k8s.io images rm "$name" >&2
done
ctr --namespace=k8s.io images ls | awk 'NR > 1 {print $1, $3}'
# The layers as they were packed go now, not at some later moment.
ctr --namespace=k8s.io content prune references >&2
kill "$daemon"
wait "$daemon" || true

# The layers lie outside of /var, which kind makes a volume: the engine would copy
# them into it whenever a node starts. Containers get a /dev of their own.
snapshots=io.containerd.snapshotter.v1.overlayfs/snapshots
rm -rf "$root/$snapshots"/*/fs/dev/* "$root/tmpmounts" /tmp/containerd.log /var/lib/containerd
cp --archive "$root/$snapshots" /kind/layers
for layer in /kind/layers/*; do
	rm -rf "${root:?}/$snapshots/${layer##*/}"
	ln --symbolic "$layer" "$root/$snapshots/${layer##*/}"
done
cp --archive "$root" /var/lib/containerd
