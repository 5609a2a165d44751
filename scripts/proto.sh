#!/bin/bash
# proto.sh [OUT]: makes the Go code of proto/*.proto in OUT (proto/vzpb). Its plugins are pinned by tools/go.mod.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
out=${1:-proto/vzpb}
command -v protoc >/dev/null || {
	echo 'error: no protoc: run `make deps`' >&2
	exit 1
}
bin=$PWD/bin/tools
GOBIN=$bin go -C tools install google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
mkdir -p "$out"
rm -f "$out"/*.pb.go
protoc -I proto --plugin="$bin/protoc-gen-go" --plugin="$bin/protoc-gen-go-grpc" \
	--go_out="$out" --go_opt=paths=source_relative \
	--go-grpc_out="$out" --go-grpc_opt=paths=source_relative proto/*.proto
