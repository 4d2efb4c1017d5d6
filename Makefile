# make demo and make test do all the set-up they need on a fresh Debian with Go.

# What the program never does it need not carry: each start reads all of it. urfave/cli
# without man pages, net/http without HTTP/2, as sockets in a store speak HTTP/1.1.
TAGS := urfave_cli_no_docs,nethttpomithttp2

# The sources may lie in a tree that git refuses to read; the version is ours.
export GOFLAGS := -buildvcs=false -tags=$(TAGS) $(GOFLAGS)

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 5m

# Tests mount disks, and so does the demo.
AS_ROOT := $(shell [ "$$(id -u)" = 0 ] || echo 'sudo -H env PATH="$$PATH" GOFLAGS="$$GOFLAGS"')

.PHONY: build test check deps demo bench bench-space bench-quick bench-soak bench-profiles bench-scale fuzz clean

build:
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X main.version=$(VERSION)' -o bin/holdfast ./cmd/holdfast

test: deps check build
	$(AS_ROOT) .ci/test

# check is what needs no run: format, vet, staticcheck.
check:
	@unformatted=$$(gofmt -l .); if [ -n "$$unformatted" ]; then echo "run gofmt on:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...

deps:
	@.ci/deps

demo: deps build
	$(AS_ROOT) bash tests/demo.sh

bench: build
	@.ci/deps bench
	$(AS_ROOT) go run ./benchmarks

bench-space: build
	@.ci/deps bench
	$(AS_ROOT) go run ./benchmarks -space

bench-quick: deps build
	$(AS_ROOT) go run ./benchmarks -quick

bench-soak: build
	$(AS_ROOT) go run ./benchmarks -soak 1h

# Where our CPU time goes on the roads that benchmarks/LIMITS.md is about.
PROFILED ?= first capture;second capture;sequential read;depth 1;boot;restore
bench-profiles: build
	$(AS_ROOT) go run ./benchmarks -profiles -no-peers -rounds 3 -half 1GiB -road '$(PROFILED)'

# Catalog and index of a large store, without its data; 130 bytes of disk a chunk.
CHUNKS ?= 10000000
VERSIONS ?= 10000
bench-scale: build
	go build -o bin/scale ./benchmarks/scale
	$(AS_ROOT) bin/scale -chunks $(CHUNKS) -versions $(VERSIONS) -results benchmarks/results

fuzz:
	FUZZTIME=$(FUZZTIME) .ci/fuzz

clean:
	rm -rf bin
