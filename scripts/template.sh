# Shared by the template-*.sh scripts; sourced, not run.
# shellcheck shell=bash

templates=$VZ_CACHE/templates
work= # a folder beside the templates, for build

# template NAME RECIPE...: calls build DIR in a fresh folder and packs it to NAME.tar, unless the cached one was made by
# just these recipe files.
template() {
	local name=$1 hash
	shift
	hash=$(recipe_hash "$@")
	mkdir -p "$templates" "$VZ_CACHE/log"
	if [[ -s $templates/$name.tar && $(cat "$templates/$name.stamp" 2>/dev/null) == "$hash" ]]; then
		say "$name.tar" "$templates/$name.tar: already there"
		return
	fi
	# Not /tmp: a rootfs needs a file system that takes set-uid bits and file capabilities.
	work=$(mktemp -d "$templates/.$name.XXXXXX")
	trap 'rm -rf --one-file-system "$work"' EXIT
	mkdir -m 0755 "$work/root"
	build "$work/root"
	pack "$work/root" "$work/$name.tar"
	mv "$work/$name.tar" "$templates/$name.tar"
	printf '%s\n' "$hash" >"$templates/$name.stamp"
	say "$name.tar" "made $templates/$name.tar, $(du -h "$templates/$name.tar" | cut -f1)"
}

# pack ROOT TAR: numeric owners, names in order, times no newer than the recipe's day, no device nodes (the node makes
# /dev) and no sockets.
pack() {
	local root=$1 tar=$2
	find "$root/dev" -mindepth 1 -delete
	find "$root" -xdev \( -type b -o -type c -o -type s \) -delete
	tar --create --file="$tar" --directory="$root" --format=posix --sort=name --numeric-owner --xattrs --acls \
		--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime --clamp-mtime --mtime='2025-01-01 00:00:00Z' \
		--one-file-system .
}
