#!/bin/bash
# Makes debian-redis.tar: a small Debian with a real init (sysvinit) that starts redis-server at boot. It is what the
# tests and the demo migrate.
#
# It is a system container, also in a user namespace: the node makes /proc, /sys, /dev and the network before init runs,
# so nothing in it mounts, loads, checks or configures hardware; there are no gettys. /run and /tmp are plain folders,
# since every mount costs time in a checkpoint.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"
# shellcheck source=template.sh
. "$here/template.sh"

suite=bookworm
# usr-is-merged stands in for usrmerge, which would bring all of perl.
packages=usr-is-merged,sysvinit-core,redis-server,iproute2,procps

build() {
	local root=$1 debs=$VZ_CACHE/debs/template uri sources=() p
	apt_lists
	uri=$(debian_mirror) || die 'no Debian archive among this host'\''s apt sources'
	sources=("deb $uri $suite main" "deb $uri $suite-updates main")
	if uri=$(debian_mirror Debian-Security); then
		sources+=("deb $uri $suite-security main")
	fi
	mkdir -p "$debs/partial"
	# Owned by root and readable: apt in the new root fetches as root.
	SOURCE_DATE_EPOCH=1735689600 TMPDIR=$work quiet "$VZ_CACHE/log/template-debian.log" \
		mmdebstrap --mode=root --variant=essential --format=directory --include="$packages" \
		--aptopt='Apt::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --aptopt='APT::Sandbox::User "root"' \
		--dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
		--dpkgopt='path-exclude=/usr/share/info/*' --dpkgopt='path-exclude=/usr/share/lintian/*' \
		--dpkgopt='path-exclude=/usr/lib/*/gconv/*' --dpkgopt='path-include=/usr/lib/*/gconv/gconv-modules*' \
		--dpkgopt='path-exclude=/usr/share/bash-completion/*' --dpkgopt='path-exclude=/usr/share/zsh/*' \
		--skip=essential/unlink --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
		--setup-hook='mkdir -p "$1/var/cache/apt/archives"' \
		--setup-hook="sync-in '$debs' /var/cache/apt/archives" \
		--customize-hook="sync-out /var/cache/apt/archives '$debs'" \
		"$suite" "$root.new" "${sources[@]}"
	rmdir "$root"
	mv "$root.new" "$root"
	chmod 0755 "$root"

	inittab >"$root/etc/inittab"
	install -d -m 0755 "$root/etc/vz"
	sysinit >"$root/etc/vz/sysinit"
	chmod 0755 "$root/etc/vz/sysinit"

	shutdown_script >"$root/etc/vz/shutdown"
	chmod 0755 "$root/etc/vz/shutdown"

	# Of Debian's boot and shutdown scripts only the services' stay; without insserv's files they are run one by one.
	rm -f "$root"/etc/init.d/.depend.* "$root"/etc/rcS.d/* "$root"/etc/rc?.d/README
	find "$root"/etc/rc?.d -type l ! -name '*redis-server' -delete

	# Without CAP_SYS_RESOURCE a limit cannot be raised; redis takes what the container has.
	sed -i 's/^ULIMIT=.*/ULIMIT=/' "$root/etc/default/redis-server"
	# redis.conf keeps Debian's paths, user and daemonize; later lines win.
	cat >>"$root/etc/redis/redis.conf" <<-'CONF'

		# Set for the vzcluster test template.
		bind 0.0.0.0
		protected-mode no
		save ""
		appendonly no
		enable-debug-command yes
	CONF

	# One identity per container, not one per template; no word of the machine that built it.
	: >"$root/etc/machine-id"
	: >"$root/etc/resolv.conf"
	rm -f "$root"/var/lib/dbus/machine-id "$root"/etc/ssh/ssh_host_* "$root"/etc/apt/sources.list
	rm -f "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap
	printf 'vz\n' >"$root/etc/hostname"
	printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
	: >"$root/etc/fstab"
	rm -rf "$root"/var/cache/apt/* "$root"/var/cache/ldconfig/* "$root"/var/cache/debconf/*-old "$root"/var/lib/apt/lists/* \
		"$root"/var/lib/dpkg/*-old "$root"/etc/*- "$root"/run/* "$root"/tmp/* "$root"/var/tmp/*
	find "$root/var/log" -type f -delete

	for p in sbin/init usr/bin/redis-server usr/bin/redis-cli etc/init.d/redis-server bin/ps; do
		[[ -e $root/$p ]] || die "the template has no /$p"
	done
	compgen -G "$root/etc/rc2.d/S??redis-server" >/dev/null || die 'redis-server would not start at boot'
}

inittab() {
	cat <<-'TAB'
		# A container's: no gettys, no power lines, no single-user shell.
		id:2:initdefault:
		si::sysinit:/etc/vz/sysinit
		l0:0:wait:/etc/vz/shutdown halt
		l2:2:wait:/etc/init.d/rc 2
		l6:6:wait:/etc/vz/shutdown reboot
		# Sent by the node (SIGPWR, then SIGINT) to stop or restart the container.
		pf::powerfail:/sbin/shutdown -h now
		pn::powerfailnow:/sbin/shutdown -h now
		ca::ctrlaltdel:/sbin/shutdown -r now
	TAB
}

# Debian's own way flushes every disk of the machine (sync) and waits for hardware that a container does not have.
shutdown_script() {
	cat <<-'SHUT'
		#!/bin/sh
		# shutdown halt|reboot: stops the services, then whatever else runs, then the container itself.
		/etc/init.d/rc "$RUNLEVEL"
		killall5 -15
		for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
		    killall5 -18 || break # nobody left
		    sleep 0.1
		done
		killall5 -9
		exec "$1" -d -f -n
	SHUT
}

sysinit() {
	cat <<-'INIT'
		#!/bin/sh
		# /run and /tmp are plain folders here: empty them as a fresh tmpfs would be. init's own pipe stays.
		find /run /tmp -xdev -mindepth 1 ! -name initctl -delete
		mkdir -p -m 1777 /run/lock
		mkdir -p -m 0755 /run/redis
		: >/run/utmp
		if [ -s /etc/hostname ] && [ "$(hostname)" = "(none)" ]; then
		    hostname -F /etc/hostname 2>/dev/null
		fi
		exit 0
	INIT
}

template debian-redis "${BASH_SOURCE[0]}" "$here/template.sh"
