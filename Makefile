# One definition of how Go is called. runc_nocriu: the agent drives CRIU itself, so libcontainer's own wrapper stays out.
# seccomp: containers get a filter. libcontainer's first steps in a new namespace are C: cgo is needed.
export GOTAGS := runc_nocriu,seccomp
export CGO_ENABLED := 1
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
MODULE := github.com/vzcluster/vzcluster
GOBUILD := go build -trimpath -tags $(GOTAGS) -ldflags '-X $(MODULE)/pkg/cluster.Version=$(VERSION)'

# Every program: bin/NAME from its folder.
PROGRAMS := vzmaster=./cmd/vzmaster vznode=./cmd/vznode vzctl-cluster=./cmd/vzctl-cluster \
	vzlab=./e2e/lab/vzlab vzetcd=./e2e/lab/vzetcd vzprobe=./e2e/redisprobe/vzprobe vzdemo=./e2e/demo vzbench=./e2e/bench \
	vzbenchstore=./e2e/benchstore

# make test GOTEST_ARGS='-run Migrate -v'
TEST_TIMEOUT ?= 40m
GOTEST_ARGS ?=
GOTEST := go test -tags $(GOTAGS) -timeout $(TEST_TIMEOUT) $(GOTEST_ARGS)

.DEFAULT_GOAL := help
# deps comes before build, and no two tests share the machine.
.NOTPARALLEL:
.PHONY: help deps build proto check test test-unit demo bench-migrate bench-store clean

help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install what the machine lacks: packages, CRIU, the test templates (root; does nothing twice)
	@scripts/deps.sh

build: ## bin/: every program
	@mkdir -p bin
	@set -e; for p in $(PROGRAMS); do \
		$(GOBUILD) -o "bin/$${p%%=*}" "$${p#*=}"; \
	done
	@echo "bin/: $(foreach p,$(PROGRAMS),$(firstword $(subst =, ,$(p)))) $(VERSION)"

proto: ## proto/vzpb from proto/*.proto
	@scripts/proto.sh

check: ## vet, staticcheck, gofmt, generated code, go.mod, shellcheck, govulncheck
	@scripts/check.sh

# Packages whose tests bring up real hosts and containers: one after the other, and never from the test cache, which does
# not know of bin/, CRIU and the kernel.
REAL := ^$(MODULE)/e2e/(real|lab|demo|bench|masters|faultfs)(/|$$)
PACKAGES := go list -tags $(GOTAGS) ./...

test: deps build test-unit ## every test, with real containers and CRIU (root)
	@real=$$($(PACKAGES) | grep -E '$(REAL)') || exit 0; set -x; $(GOTEST) -p 1 -count=1 $$real

test-unit: ## the tests without real hosts
	@unit=$$($(PACKAGES) | grep -vE '$(REAL)') && set -x; $(GOTEST) $$unit

demo: deps build ## a cluster of three on this machine; a Redis moves live between its hosts and back (root)
	bin/vzdemo

bench-migrate: deps build ## what a client sees of a migration, beside runc checkpoint + rsync + restore (root)
	bin/vzbench

bench-store: build ## the masters' agreement beside etcd: writes per second, fail-over, a state of 100,000 containers
	bin/vzbenchstore

clean: ## remove what was built (not the caches of make deps)
	rm -rf bin coverage.out
