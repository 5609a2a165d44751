#!/bin/bash
# All that can be said about the code without running it. Every check runs; the exit code is 1 if any found something.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
tags=${GOTAGS:?run it by: make check}
failed=()

# check NAME COMMAND...: a check fails by its exit code.
check() {
	local name=$1 out
	shift
	if out=$("$@" 2>&1); then
		printf 'ok    %s\n' "$name"
	else
		printf 'FAIL  %s\n%s\n' "$name" "$out"
		failed+=("$name")
	fi
}

formatted() {
	local bad
	bad=$(git ls-files -co --exclude-standard '*.go' | grep -v '\.pb\.go$' | xargs -r gofmt -l) || return
	[[ -z $bad ]] || {
		echo "not as gofmt writes it: $bad"
		return 1
	}
}

# What protoc says of its own version is not a difference.
generated() {
	local dir rc=0
	dir=$(mktemp -d) || return
	scripts/proto.sh "$dir" && diff -ru -I '^//.*\bprotoc  *v' -x '*_test.go' -x doc.go proto/vzpb "$dir" || rc=1
	rm -rf "$dir"
	((rc == 0)) || echo 'proto/vzpb is not what proto/*.proto gives: run `make proto`'
	return $rc
}

shell() {
	command -v shellcheck >/dev/null || return 0
	git ls-files -co --exclude-standard '*.sh' .ci/run | xargs -r shellcheck -x -P SCRIPTDIR -e SC2016,SC2119,SC2120
}

# Findings that the code can reach fail. The database of vulnerabilities is on the network: not being able to ask it says
# nothing about the code, so that is reported in a line and is no failure.
vulnerabilities() {
	local out rc=0
	out=$(timeout 900 go tool -modfile=tools/go.mod govulncheck -tags "$tags" ./... 2>&1) || rc=$?
	if ((rc == 0)); then
		printf 'ok    govulncheck\n'
	elif grep -q '^govulncheck: fetching vulnerabilities:' <<<"$out"; then
		printf 'skip  govulncheck: its database cannot be reached from this machine, so nothing was looked up\n'
	else
		printf 'FAIL  govulncheck (exit %d)\n%s\n' "$rc" "$out"
		failed+=(govulncheck)
	fi
}

check 'go vet' go vet -tags "$tags" ./...
check staticcheck go tool -modfile=tools/go.mod staticcheck -tags "$tags" ./...
check gofmt formatted
check 'generated code is fresh' generated
check 'go.mod is tidy' go mod tidy -diff
check 'tools/go.mod is tidy' go -C tools mod tidy -diff
check shellcheck shell
vulnerabilities

if ((${#failed[@]})); then
	printf 'check: %d failed: %s\n' "${#failed[@]}" "$(IFS=,; echo "${failed[*]}")"
	exit 1
fi
echo 'check: all ok'
