# Shared by the scripts in this folder; sourced, not run.
# shellcheck shell=bash

# Where things that outlive a checkout are kept.
VZ_CACHE=${VZ_CACHE:-/var/cache/vzcluster}
# Where the private CRIU lives when the host's is too old.
VZ_CRIU_PREFIX=${VZ_CRIU_PREFIX:-/opt/vz/criu}

# say THING TEXT: one line for each thing, what was found or done.
say() { printf '%-18s %s\n' "$1" "$2"; }
warn() { printf '%-18s warning: %s\n' "$1" "$2" >&2; }
die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}

# missing PACKAGE...: prints those that are not installed. One dpkg-query for all.
missing() {
	local p have
	have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
	for p; do
		grep -qxF "installed $p" <<<"$have" || printf '%s\n' "$p"
	done
}

# quiet LOG COMMAND...: keeps the output in LOG and shows its end only when the command fails.
quiet() {
	local log=$1
	shift
	if ! "$@" >"$log" 2>&1; then
		tail -n 30 "$log" >&2
		die "failed: $* (whole log: $log)"
	fi
}

# apt_lists: the host's package lists are there and no older than a day.
apt_lists() {
	local stamp=$VZ_CACHE/apt-lists.stamp
	if [[ -n $(find "$stamp" -mmin -1440 2>/dev/null) && -n $(debian_mirror 2>/dev/null) ]]; then
		return
	fi
	mkdir -p "$VZ_CACHE/log"
	quiet "$VZ_CACHE/log/apt-update.log" apt-get -q update
	touch "$stamp"
}

# apt_install PACKAGE...: from the host's own suite. Lists that are too old name packages that are gone: once more, fresh.
apt_install() {
	apt_lists
	local try
	for try in 1 2; do
		if DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends -o DPkg::Lock::Timeout=300 install "$@" \
			>"$VZ_CACHE/log/apt-install.log" 2>&1 </dev/null; then
			return
		fi
		rm -f "$VZ_CACHE/apt-lists.stamp"
		[[ $try == 2 ]] || apt_lists
	done
	tail -n 30 "$VZ_CACHE/log/apt-install.log" >&2
	die "apt-get install $* failed"
}

# debian_mirror [LABEL]: the address of the Debian archive that this host itself is set up with. apt knows it, whatever
# the style of the sources, once its lists are there; the label is the one that the archive signs in its Release file.
debian_mirror() {
	local uri
	uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' "Label: ${1:-Debian}" | sort -u | head -n 1)
	[[ -n $uri ]] || return 1
	printf '%s\n' "${uri%/}"
}

# debian_keyring: the host's archive keys.
debian_keyring() {
	local k
	for k in /usr/share/keyrings/debian-archive-keyring.pgp /usr/share/keyrings/debian-archive-keyring.gpg; do
		if [[ -r $k ]]; then
			printf '%s\n' "$k"
			return
		fi
	done
	return 1
}

# recipe_hash FILE...: a stamp that changes when the way a thing is made changes.
recipe_hash() { cat -- "$@" | sha256sum | cut -c1-16; }
