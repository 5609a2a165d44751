#!/bin/bash
# Makes busybox.tar: the smallest system container there is, from Debian's busybox-static.
# Its init is pid 1 and keeps one service, a web server on port 80.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"
# shellcheck source=template.sh
. "$here/template.sh"

build() {
	local root=$1 applet
	install -d -m 0755 "$root"/{bin,dev,etc,etc/init.d,mnt,proc,run,sbin,sys,usr,usr/bin,usr/sbin,var,var/log,www}
	install -d -m 0700 "$root/root"
	install -d -m 1777 "$root/tmp"
	install -m 0755 "$(command -v busybox)" "$root/bin/busybox"
	"$root/bin/busybox" --list-full | while read -r applet; do
		[[ $applet == bin/busybox || $applet == linuxrc ]] && continue
		install -d "$root/$(dirname "$applet")"
		ln -s /bin/busybox "$root/$applet"
	done
	[[ -e $root/sbin/init || -L $root/sbin/init ]] || ln -s /bin/busybox "$root/sbin/init"

	printf 'vz\n' >"$root/etc/hostname"
	printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
	: >"$root/etc/resolv.conf"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	printf 'root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n' >"$root/etc/shadow"
	chmod 0640 "$root/etc/shadow"
	printf 'PRETTY_NAME="busybox"\nNAME="busybox"\nID=busybox\n' >"$root/etc/os-release"
	printf '<!doctype html><title>vz</title><p>It works.</p>\n' >"$root/www/index.html"
	# /proc, /sys, /dev and the network are there before init runs: the node has made them.
	cat >"$root/etc/inittab" <<-'TAB'
		::sysinit:/etc/init.d/rcS
		::respawn:/usr/sbin/httpd -f -p 80 -h /www
		::ctrlaltdel:/sbin/poweroff
		::shutdown:/bin/true
	TAB
	cat >"$root/etc/init.d/rcS" <<-'RCS'
		#!/bin/sh
		rm -rf /run/* /tmp/*
		echo "busybox container started"
	RCS
	chmod 0755 "$root/etc/init.d/rcS"
	for applet in bin/sh sbin/init usr/sbin/httpd; do
		[[ -L $root/$applet ]] || die "busybox has no applet $applet"
	done
}

template busybox "${BASH_SOURCE[0]}" "$here/template.sh"
