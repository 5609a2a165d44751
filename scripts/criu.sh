#!/bin/bash
# Finds a CRIU that is new enough, or takes one from a newer Debian suite.
#
# Kernel 6.16 and later need CRIU 4.2 (SO_PASSCRED on TCP sockets). When the host's own package is older, the signed
# package of the first newer suite that has it is unpacked with its libraries into a private prefix. There it runs with
# its own dynamic loader and C library; no file of the host's is replaced and dpkg does not know of it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
. "$here/common.sh"

need=4.2
suites=(trixie trixie-backports forky sid)
prefix=$VZ_CRIU_PREFIX
log=$VZ_CACHE/log

version_of() { "$1" --version 2>/dev/null | sed -n 's/^Version: //p'; }
new_enough() { [[ -n $1 ]] && dpkg --compare-versions "$1" ge "$need"; }

# criu_check CRIU: `criu check`'s own verdict; what it said stays in criu-check.log.
criu_check() { timeout 60 "$1" check >"$log/criu-check.log" 2>&1; }

# trial CRIU: dumps a process, kills it by that, and restores it. What `criu check` says about a machine without some
# capability can be too strict or too mild; this is the thing itself.
trial() {
	local criu=$1 dir pid rc=1
	dir=$(mktemp -d "${TMPDIR:-/tmp}/vz-criu-trial.XXXXXX")
	# Without what it would inherit from make and from deps.sh: pipes and a lock, which make a dump refuse.
	setsid bash -c 'for f in /proc/$$/fd/*; do n=${f##*/}; ((n < 3)) || eval "exec $n>&-"; done; exec sleep 300' \
		</dev/null >/dev/null 2>&1 &
	pid=$!
	disown "$pid"
	sleep 0.2
	if timeout 60 "$criu" dump -t "$pid" -D "$dir" -o dump.log -v4 >"$dir/out" 2>&1 &&
		timeout 60 "$criu" restore -d -D "$dir" -o restore.log -v4 >>"$dir/out" 2>&1 &&
		[[ $(cat "/proc/$pid/comm" 2>/dev/null) == sleep ]]; then
		rc=0
	else
		grep -h Error "$dir"/*.log >"$log/criu-trial.log" 2>/dev/null || cp "$dir/out" "$log/criu-trial.log"
	fi
	kill -KILL "$pid" 2>/dev/null || true
	rm -rf "$dir"
	return $rc
}

# report CRIU: version, check and trial in one line; fails when the trial does.
report() {
	local criu=$1 verdict
	if criu_check "$criu"; then
		verdict='criu check: looks good'
	else
		verdict="criu check: $(grep -m1 -E 'Error' "$log/criu-check.log" | sed 's/^.*): //' || echo failed)"
	fi
	trial "$criu" || die "$criu $(version_of "$criu") cannot dump and restore a process here: $(tail -n 3 "$log/criu-trial.log")"
	say criu "$criu $(version_of "$criu"); $verdict; dump and restore of a process: ok"
	mkdir -p "$VZ_CACHE/criu"
	printf '%s %s %s\n' "$criu" "$(version_of "$criu")" "$(uname -r)" >"$VZ_CACHE/criu/checked"
}

# private_apt: writes an apt configuration that reads the host's network settings (proxies and so on), and nothing of
# its sources, keys, lists, pins, or installed packages: the closure is worked out as for an empty system.
private_apt() {
	local keyring=$1 uri=$2 suite=$3
	rm -rf "$work/state"
	mkdir -p "$work"/{etc,state/lists/partial} "$VZ_CACHE/debs/partial"
	: >"$work/status"
	printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$uri" "$suite" >"$work/etc/sources.list"
	cat >"$work/apt.conf" <<-CONF
		#clear APT::Update;
		#clear DPkg::Post-Invoke;
		#clear Acquire::IndexTargets::deb::DEP-11;
		Dir::State "$work/state";
		Dir::State::status "$work/status";
		Dir::Cache "$work";
		Dir::Cache::archives "$VZ_CACHE/debs/";
		Dir::Etc::sourcelist "$work/etc/sources.list";
		Dir::Etc::sourceparts "/dev/null";
		Dir::Etc::trusted "/dev/null";
		Dir::Etc::trustedparts "/dev/null";
		Dir::Etc::preferences "/dev/null";
		Dir::Etc::preferencesparts "/dev/null";
		Acquire::Languages "none";
		Acquire::AllowInsecureRepositories "false";
		Acquire::AllowDowngradeToInsecureRepositories "false";
		APT::Get::AllowUnauthenticated "false";
		APT::Get::Assume-Yes "true";
		APT::Install-Recommends "false";
		APT::Sandbox::User "root";
	CONF
}
apt_private() { apt-get -q -c "$work/apt.conf" "$@"; }

# newer_keyring: the archive keys from the host's own, verified suite, in case the installed ones are too old for the
# key that signs the newer one.
newer_keyring() {
	(cd "$work" && apt-get -q download debian-archive-keyring >"$log/keyring.log" 2>&1) || return 1
	dpkg-deb -x "$work"/debian-archive-keyring_*.deb "$work/keyring"
	find "$work/keyring/usr/share/keyrings" -name 'debian-archive-keyring.*' | head -n 1
}

candidate() {
	{ apt-cache -c "$work/apt.conf" show --no-all-versions criu 2>/dev/null || true; } | sed -n 's/^Version: //p'
}

fetch_private() {
	local uri keyring suite v='' v_deb name deb
	apt_lists
	uri=$(debian_mirror) || die 'no Debian archive among this host'\''s apt sources: install criu >= '"$need"' by hand'
	keyring=$(debian_keyring) || die 'debian-archive-keyring is not installed: the packages could not be verified'
	for suite in "${suites[@]}"; do
		private_apt "$keyring" "$uri" "$suite"
		if ! apt_private -o APT::Update::Error-Mode=any update >"$log/apt-$suite.log" 2>&1; then
			if grep -q NO_PUBKEY "$log/apt-$suite.log"; then
				keyring=$(newer_keyring) || die "no key for Debian $suite on this host (log: $log/apt-$suite.log)"
				private_apt "$keyring" "$uri" "$suite"
				apt_private -o APT::Update::Error-Mode=any update >"$log/apt-$suite.log" 2>&1 || continue
			else
				continue
			fi
		fi
		v=$(candidate)
		new_enough "${v:-0}" && break
		v=''
	done
	[[ -n $v ]] || die "no Debian suite of ${suites[*]} gave criu >= $need (logs: $log/apt-*.log)"

	# The packages that an empty system would need for it, by apt's own resolver, each verified against the signed lists.
	local -a closure
	mapfile -t closure < <(apt_private -s install criu | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\).*/\1=\2/p')
	[[ ${#closure[@]} -gt 1 ]] || die "apt gave no library closure for criu $v"
	rm -rf "$work/debs" "$work/root"
	mkdir -p "$work/debs" "$work/root"
	apt_private -d install criu >"$log/apt-criu.log" 2>&1 || die "download of criu failed (log: $log/apt-criu.log)"
	for name in "${closure[@]}"; do
		v_deb=${name#*=}
		deb=$(find "$VZ_CACHE/debs" -maxdepth 1 -name "${name%%=*}_${v_deb/:/%3a}_*.deb" | head -n 1)
		[[ -n $deb ]] || die "package $name was not downloaded"
		dpkg-deb -x "$deb" "$work/root"
	done
	assemble "$work/root" "$work/new"
	printf '%s %s\n' "$stamp_hash" "$v" >"$work/new/stamp"
	printf 'suite: Debian %s\n' "$suite" >"$work/new/origin"
	printf '%s\n' "${closure[@]}" >>"$work/new/origin"

	# A running criu keeps its files: the old prefix is moved away, then removed.
	mkdir -p "$(dirname "$prefix")"
	rm -rf "$prefix.old"
	[[ ! -e $prefix ]] || mv "$prefix" "$prefix.old"
	mv "$work/new" "$prefix"
	rm -rf "$prefix.old"
	say criu "took criu $v and ${#closure[@]} packages in all from Debian $suite into $prefix, signatures verified"
}

# assemble ROOT NEW: the program, the loader and just the libraries that it loads.
#
# The program names its loader and its library folder itself (ELF interpreter and RPATH), so it is started directly: no
# shell or wrapper in between, argv[0] and /proc/self/exe are criu's, and nothing of it is inherited by what it runs.
assemble() {
	local root=$1 new=$2 loader lib path
	rm -rf "$new"
	mkdir -p "$new/bin" "$new/lib"
	cp "$root/usr/sbin/criu" "$new/bin/criu"
	loader=$(patchelf --print-interpreter "$new/bin/criu")
	loader=$(basename "$loader")
	cp -L "$(find "$root" -name "$loader" \( -type f -o -type l \) | head -n 1)" "$new/lib/$loader"
	chmod 0755 "$new/lib/$loader"
	# What the private loader resolves inside the unpacked packages, and nowhere else.
	local dirs
	dirs=$(find "$root" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd:)
	while read -r lib path; do
		[[ $path == "$root"/* ]] || die "library $lib of criu is not in its packages ($path)"
		cp -L "$path" "$new/lib/$lib"
	done < <("$new/lib/$loader" --inhibit-cache --library-path "$dirs" --list "$new/bin/criu" |
		awk '$2 == "=>" {print $1, $3}' | grep -v "^/.*$loader")
	patchelf --set-interpreter "$prefix/lib/$loader" --force-rpath --set-rpath "$prefix/lib" "$new/bin/criu"
	# Until it is in its place, it has to be asked through the loader by hand.
	"$new/lib/$loader" --inhibit-cache --library-path "$new/lib" "$new/bin/criu" --version >/dev/null ||
		die 'the assembled criu does not start'
}

main() {
	mkdir -p "$log" "$VZ_CACHE/criu"
	stamp_hash=$(recipe_hash "${BASH_SOURCE[0]}")
	local host v
	host=$(command -v criu || true)
	if [[ -n $host && $(readlink -f "$host") != "$prefix"/* ]]; then
		v=$(version_of "$host")
		if new_enough "${v:-0}"; then
			if [[ $(cat "$VZ_CACHE/criu/checked" 2>/dev/null) == "$host $v $(uname -r)" ]]; then
				say criu "$host $v: new enough, found good before"
				return
			fi
			if criu_check "$host" && trial "$host"; then
				report "$host"
				return
			fi
		fi
	fi
	if [[ $(cut -d' ' -f1 "$prefix/stamp" 2>/dev/null) == "$stamp_hash" && -x $prefix/bin/criu ]]; then
		v=$(version_of "$prefix/bin/criu")
		if [[ $(cat "$VZ_CACHE/criu/checked" 2>/dev/null) == "$prefix/bin/criu $v $(uname -r)" ]]; then
			say criu "$prefix/bin/criu $v: already there, found good before on this kernel"
			return
		fi
	else
		work=$(mktemp -d "${TMPDIR:-/tmp}/vz-criu.XXXXXX")
		trap 'rm -rf "$work"' EXIT
		fetch_private
	fi
	report "$prefix/bin/criu"
}

main "$@"
