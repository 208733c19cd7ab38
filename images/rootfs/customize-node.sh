#!/bin/sh
# Runs after the packages are installed; $1 is the root filesystem. What kind's
# own base image takes from systemd, and for the same reasons: a node boots
# into its container runtime and its kubelet, and into nothing else.
set -eu
root=$1
rm -f "$root"/lib/systemd/system/sysinit.target.wants/systemd-tmpfiles-setup.service \
	"$root"/lib/systemd/system/multi-user.target.wants/* \
	"$root"/etc/systemd/system/*.wants/* \
	"$root"/lib/systemd/system/local-fs.target.wants/* \
	"$root"/lib/systemd/system/sockets.target.wants/*udev* \
	"$root"/lib/systemd/system/sockets.target.wants/*initctl* \
	"$root"/lib/systemd/system/basic.target.wants/*
echo 'ReadKMsg=no' >>"$root"/etc/systemd/journald.conf
wants=$root/etc/systemd/system/multi-user.target.wants
mkdir -p "$wants" "$root"/etc/kubernetes/manifests
for unit in kubelet containerd undo-mount-hacks; do
	ln -s "/etc/systemd/system/$unit.service" "$wants/$unit.service"
done
# It registers things with the kernel, which the node shares with its host.
ln -s /dev/null "$root"/etc/systemd/system/systemd-binfmt.service
