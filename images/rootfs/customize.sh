#!/bin/sh
# Runs after the packages are installed; $1 is the root filesystem. Nobody
# installs a package in these images, reads a manual or speaks another language.
set -eu
root=$1
rm -rf "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/info \
	"$root"/usr/share/locale "$root"/usr/share/bash-completion "$root"/usr/share/lintian \
	"$root"/var/lib/apt/lists "$root"/var/cache/apt "$root"/var/cache/debconf \
	"$root"/var/log/*.log "$root"/var/log/apt
mkdir -p "$root"/var/lib/apt/lists/partial "$root"/var/cache/apt/archives/partial
