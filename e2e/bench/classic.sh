#!/bin/bash
# The classic way to move a running container by hand, with stock tools: runc checkpoint, rsync, runc restore. The address
# goes with it and a client's TCP connection is kept. It is what vzbench compares vzcluster with, and a person can use it:
#
#   on the source   classic.sh create NAME TEMPLATE.tar ADDRESS/PREFIX     a running container
#   on the source   classic.sh migrate NAME TARGET ssh root@TARGET .../classic.sh receive
#   on either       classic.sh destroy NAME                                whatever is left of it here
#
# TARGET is an address of that host; the words after it are any command that joins its own stdin and stdout to those of a
# `classic.sh receive` there. migrate prints "stage NAME START END" (seconds of the epoch, by the source's clock), "bytes WHAT
# N", "criu dump|restore SECONDS" (CRIU's own part), and at the end "moved NAME".
#
# Done as a skilled admin does it, and in its favour where there is a choice: images on tmpfs at both ends; the rootfs is
# synced before, and again after the checkpoint, beside the images; rsync goes to a daemon (no ssh, so no encryption); the
# target's network is ready before the checkpoint; the shell on the target is open before, so that no log-in is waited for.
# The container has no user namespace and its redis runs as root. If the restore fails, the images stay on both hosts.
set -euo pipefail

BASE=${CLASSIC_BASE:-/vz/classic}         # rootfs and bundle of each container
RUN=${CLASSIC_RUN:-/run/classic}          # runc's state and the images: a tmpfs
BRIDGE=${CLASSIC_BRIDGE:-vzbr0}           # the bridge that the container's link is put into
CGROUP=${CLASSIC_CGROUP:-}                # parent cgroup
PORT=${CLASSIC_PORT:-8730}                # of the target's rsync daemon
CRIU_DIR=${CLASSIC_CRIU_DIR:-/opt/vz/criu/bin}
RUNC=${CLASSIC_RUNC:-runc}
export PATH=$CRIU_DIR:$PATH LC_ALL=C

die() { printf 'error: %s\n' "$*" >&2; exit 1; }
say() { printf '%s\n' "$*"; }
runc() { command "$RUNC" --root "$RUN/runc" "$@"; }

# stage NAME START: the stage ends now.
stage() { say "stage $1 $2 $EPOCHREALTIME"; }

paths() {
	[[ $1 =~ ^[a-z0-9-]{1,11}$ ]] || die "name $1: want 1 to 11 of a-z, 0-9 and dashes"
	name=$1 bundle=$BASE/$1 images=$RUN/$1 netns=cl-$1 link=cl$1
	mkdir -p "$bundle/rootfs" "$images" "$RUN/runc"
}

# network ADDRESS/PREFIX MAC: a network namespace with the container's address. Its link is not in the bridge yet, and it
# says and answers nothing by itself: before the container is there, nobody may answer for it.
network() {
	ip netns add "$netns"
	ip -n "$netns" link set lo up
	ip link add "$link" type veth peer name eth0 address "$2" netns "$netns"
	ip -n "$netns" link set eth0 addrgenmode none
	ip netns exec "$netns" sysctl -qw net.ipv4.conf.eth0.arp_ignore=8
	ip link set "$link" up
	ip -n "$netns" addr add "$1" dev eth0
	ip -n "$netns" link set eth0 up
}

# answer: from now on the container's address is here.
answer() {
	ip netns exec "$netns" sh -c "echo 0 >/proc/sys/net/ipv4/conf/eth0/arp_ignore; exec busybox arping -q -U -c 1 -w 1 -I eth0 $1" >/dev/null 2>&1 || true
}

# config: the bundle's config.json, as `runc spec` writes it but for: network namespace and cgroup by name, the
# template's own init, capabilities as docker gives them, no cgroup mount, and CRIU's lock by nftables (Debian 12 has no
# iptables unless asked for).
config() {
	local caps='"CAP_CHOWN","CAP_DAC_OVERRIDE","CAP_FSETID","CAP_FOWNER","CAP_MKNOD","CAP_NET_RAW","CAP_SETGID","CAP_SETUID","CAP_SETFCAP","CAP_SETPCAP","CAP_NET_BIND_SERVICE","CAP_SYS_CHROOT","CAP_KILL","CAP_AUDIT_WRITE"'
	echo 'network-lock nftables' >"$bundle/criu.conf"
	cat >"$bundle/config.json" <<-JSON
		{ "ociVersion": "1.0.2", "hostname": "$name",
		  "annotations": { "org.criu.config": "$bundle/criu.conf" },
		  "root": { "path": "rootfs" },
		  "process": { "terminal": false, "user": { "uid": 0, "gid": 0 }, "cwd": "/", "noNewPrivileges": true,
		    "args": [ "/sbin/init" ], "env": [ "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "CONSOLE=/dev/null" ],
		    "capabilities": { "bounding": [$caps], "effective": [$caps], "permitted": [$caps] } },
		  "mounts": [
		    { "destination": "/proc", "type": "proc", "source": "proc" },
		    { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": [ "nosuid","strictatime","mode=755","size=65536k" ] },
		    { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
		      "options": [ "nosuid","noexec","newinstance","ptmxmode=0666","mode=0620","gid=5" ] },
		    { "destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": [ "nosuid","noexec","nodev","mode=1777","size=65536k" ] },
		    { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": [ "nosuid","noexec","nodev" ] },
		    { "destination": "/sys", "type": "sysfs", "source": "sysfs", "options": [ "nosuid","noexec","nodev","ro" ] } ],
		  "linux": {
		    "cgroupsPath": "$CGROUP/classic-$name",
		    "resources": { "devices": [ { "allow": false, "access": "rwm" } ] },
		    "namespaces": [ { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
		      { "type": "network", "path": "/run/netns/$netns" } ],
		    "maskedPaths": [ "/proc/acpi","/proc/asound","/proc/kcore","/proc/keys","/proc/latency_stats","/proc/timer_list",
		      "/proc/timer_stats","/proc/sched_debug","/sys/firmware","/proc/scsi" ],
		    "readonlyPaths": [ "/proc/bus","/proc/fs","/proc/irq","/proc/sys","/proc/sysrq-trigger" ] } }
	JSON
}

create() {
	(($# == 3)) || die 'create NAME TEMPLATE.tar ADDRESS/PREFIX'
	paths "$1"
	tar -C "$bundle/rootfs" --numeric-owner --xattrs --xattrs-include='*' -xpf "$2"
	# redis as root: without CAP_SYS_RESOURCE CRIU cannot read the limits of another user's process.
	sed -i 's/--chuid redis:redis//' "$bundle/rootfs/etc/init.d/redis-server"
	network "$3" "02:63:6c:$(od -An -N3 -tx1 /dev/urandom | sed 's/^ //; s/ /:/g')"
	config
	runc run -d --bundle "$bundle" "$name" </dev/null >"$bundle/console.log" 2>&1 || die "runc run: $(<"$bundle/console.log")"
	ip link set "$link" master "$BRIDGE"
	answer "${3%/*}"
	say "running $name"
}

migrate() {
	(($# >= 3)) || die 'migrate NAME TARGET ssh root@TARGET classic.sh receive'
	paths "$1"
	local target=$2 address mac source neighbours t0 t1
	shift 2
	address=$(ip -n "$netns" -o -4 addr show dev eth0 | awk '{ print $4 }')
	mac=$(ip netns exec "$netns" cat /sys/class/net/eth0/address)
	source=$(ip -o route get "$target" | sed -n 's/.* src \([^ ]*\).*/\1/p')

	coproc SHELL_ON_TARGET { "$@"; }
	echo "$name $address $mac $source" >&"${SHELL_ON_TARGET[1]}"
	target_says ready
	criu check >/dev/null 2>&1 || true # it remembers what the kernel can do, so that the dump need not find out

	t0=$EPOCHREALTIME
	copy rootfs "$bundle/rootfs/" "rsync://$target:$PORT/rootfs/"
	stage copy-running "$t0"

	# A restored socket speaks at once and repeats what was lost only after a second: so it need not ask for the client's MAC
	# and (see receive) its link is in the bridge before it.
	neighbours=$(ip -n "$netns" -4 neigh show dev eth0 | awk '$2 == "lladdr" { print "neighbour", $1, $3 }')
	[[ -z $neighbours ]] || printf '%s\n' "$neighbours" >&"${SHELL_ON_TARGET[1]}"

	t0=$EPOCHREALTIME t1=$t0
	runc checkpoint --tcp-established --file-locks --image-path "$images" --work-path "$bundle" "$name" >&2 ||
		die "runc checkpoint: $(grep Error "$bundle/dump.log" | tail -n 3)"
	stage checkpoint "$t1"

	# CRIU's lock in the namespace keeps the kernel from answering the client until the link is gone.
	t1=$EPOCHREALTIME
	ip link set "$link" down
	copy rootfs-again "$bundle/rootfs/" "rsync://$target:$PORT/rootfs/" &
	copy images "$images/" "rsync://$target:$PORT/images/"
	wait $!
	stage transfer "$t1"

	t1=$EPOCHREALTIME
	echo restore >&"${SHELL_ON_TARGET[1]}"
	target_says restored
	stage restore "$t1"
	stage frozen "$t0"
	say "criu dump $(criu_seconds "$bundle/dump.log")"
	target_says criu # ... restore SECONDS
	say "$answer"
	say "moved $name"
	no_network
	rm -rf "$bundle" "$images"
}

# copy WHAT FROM TO: what a skilled admin gives rsync to keep everything that a root file system can have.
copy() {
	rsync -aHAXS --numeric-ids --delete --stats --no-human-readable "$2" "$3" >"$bundle/rsync.$1" ||
		(($? == 24)) || die "rsync $1 failed" # 24: a file went away meanwhile
	say "bytes $1 $(sed -n 's/^Total bytes sent: //p' "$bundle/rsync.$1")"
}

# target_says WORD: waits for the line that starts so.
target_says() {
	while IFS= read -r answer <&"${SHELL_ON_TARGET[0]}"; do
		[[ $answer != "$1"* ]] || return 0
		printf 'target: %s\n' "$answer" >&2
	done
	die "the target's shell ended before it said: $1"
}

# criu_seconds LOG: what CRIU itself took of it; the rest is runc.
criu_seconds() { sed -n 's/^(\([0-9.]*\)).*/\1/p' "$1" | tail -n 1; }

# receive: the target's part of migrate. Reads "NAME ADDRESS/PREFIX MAC SOURCE", prepares, then waits for the word.
receive() {
	local address mac source word ip lladdr
	read -r name address mac source || die 'receive is started by migrate'
	paths "$name"
	network "$address" "$mac"
	config
	cat >"$bundle/rsyncd.conf" <<-CONF
		port = $PORT
		use chroot = no
		uid = 0
		gid = 0
		read only = no
		hosts allow = $source
		[rootfs]
		path = $bundle/rootfs
		[images]
		path = $images
	CONF
	rsync --daemon --no-detach --config="$bundle/rsyncd.conf" </dev/null &
	trap 'kill %1' EXIT
	criu check >/dev/null 2>&1 || true
	until (: >"/dev/tcp/127.0.0.1/$PORT") 2>/dev/null; do sleep 0.05; done
	say ready
	while read -r word ip lladdr; do
		[[ $word == neighbour ]] || break
		ip -n "$netns" neigh replace "$ip" lladdr "$lladdr" nud stale dev eth0
	done
	if [[ $word != restore ]]; then # the source gave up
		destroy "$name"
		exit 1
	fi
	ip link set "$link" master "$BRIDGE" # frames still go to the source, until the container sends its first
	runc restore -d --tcp-established --file-locks --image-path "$images" --work-path "$bundle" --bundle "$bundle" "$name" \
		</dev/null >"$bundle/console.log" 2>&1 || die "runc restore: $(tail -n 2 "$bundle/console.log"; grep Error "$bundle/restore.log" | tail -n 3)"
	answer "${address%/*}" &
	say restored
	say "criu restore $(criu_seconds "$bundle/restore.log")"
	wait $!
}

# destroy NAME: idempotent.
destroy() {
	(($# == 1)) || die 'destroy NAME'
	paths "$1"
	runc delete --force "$name" 2>/dev/null || true
	no_network
	rm -rf "$bundle" "$images"
}

no_network() {
	ip link del "$link" 2>/dev/null || true
	ip netns del "$netns" 2>/dev/null || true
}

case ${1:-} in
create | migrate | receive | destroy) "$@" ;;
*) die 'classic.sh create|migrate|destroy ...: the head of this file says how' ;;
esac
