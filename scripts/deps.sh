#!/bin/bash
# Installs what the machine lacks to build, test and run vzcluster, and says for each thing what it found or did.
# Nothing is done twice: a second run takes no time.
#
#   VZ_CACHE         templates, packages and logs         (/var/cache/vzcluster)
#   VZ_CRIU_PREFIX   where a private CRIU goes            (/opt/vz/criu)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

# The Go toolchain is the one thing that Debian 12 cannot give.
want_go=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' "$here/../go.mod" 2>/dev/null || true)
want_go=${want_go:-1.26}

build_packages=(gcc libc6-dev pkg-config libseccomp-dev protobuf-compiler git make)
run_packages=(iproute2 nftables rsync procps util-linux tar xz-utils ca-certificates kmod)
test_packages=(shellcheck mmdebstrap busybox-static patchelf redis-tools runc debian-archive-keyring)

[[ $EUID == 0 ]] || die 'make deps needs root: it installs packages and CRIU. Run it as root once; `make build` and `make test-unit` need none.'
for tool in apt-get dpkg-query; do
	command -v "$tool" >/dev/null || die "no $tool: this set-up step is for Debian and its relatives. Install by hand: ${build_packages[*]} ${run_packages[*]} criu (>= 4.2)"
done
mkdir -p "$VZ_CACHE/log"

# Two runs at once wait for each other.
exec 9>"$VZ_CACHE/lock"
flock 9

go=$(command -v go || true)
[[ -n $go ]] || die "no go in PATH: install Go $want_go or newer"
have_go=$(go env GOVERSION)
dpkg --compare-versions "${have_go#go}" ge "$want_go" || die "go is $have_go, needs $want_go or newer"
say go "$go ${have_go#go}"

mapfile -t todo < <(missing "${build_packages[@]}" "${run_packages[@]}" "${test_packages[@]}")
if ((${#todo[@]})); then
	apt_install "${todo[@]}"
	say packages "installed ${todo[*]}"
else
	say packages 'all there'
fi

"$here/criu.sh"
"$here/template-debian.sh"
"$here/template-busybox.sh"
