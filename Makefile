# Targets are described by the comment behind them: "make help" prints those.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

MODULE  := github.com/autoctl/autoctl
GO      ?= go
BIN     := bin
TOOLS   := $(CURDIR)/$(BIN)/tools
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)

GOLANGCI_VERSION := v2.15.0

# What runs within one process, side by side; the scenarios have a machine to themselves.
UNIT      = $(shell $(GO) list ./... | grep -v '^$(MODULE)/tests') $(MODULE)/tests/inprocess
SCENARIOS = $(shell $(GO) list ./tests/... | grep -v '^$(MODULE)/tests/inprocess')
PURE      = $(MODULE)/fsm $(MODULE)/fsm/explore
# The longest first, so that no core waits for them at the end.
LONG      = $(MODULE)/tests/inprocess $(MODULE)/keeper/local

# Options of the targets that take some.
RUN           ?= .
EXPLORE_TIME  ?= 30m
BENCH_RUNS    ?= 5
DURATION      ?= 30m
NODES         ?= 3
SYNC          ?= 0
ASYNC         ?= 0
DEMO_FLAGS    ?=

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | sort | awk -F'|' '{printf "  %-12s %s\n", $$1, $$2}'

.PHONY: deps
deps: ## install what the tests and the demo need (Debian packages; as root)
	@scripts/prerequisites test

.PHONY: build
build: ## build bin/autoctl
	$(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN)/autoctl ./cmd/autoctl

.PHONY: build-race
build-race: ## build bin/autoctl-race, with the race detector
	$(GO) build -race -buildvcs=false -ldflags '$(LDFLAGS)' -o $(BIN)/autoctl-race ./cmd/autoctl

.PHONY: fmt-check
fmt-check: ## fail when gofmt would change a file
	@unformatted=$$(gofmt -l $$(find . -name '*.go' -not -path './$(BIN)/*')); \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi

.PHONY: vet
vet: ## go vet
	$(GO) vet -race ./...

.PHONY: tidy-check
tidy-check: ## fail when go.mod or go.sum are not tidy
	$(GO) mod tidy -diff

.PHONY: test
test: deps fmt-check vet tidy-check decisions race short ## everything that must pass: formatting, vet, unit tests and short scenarios

.PHONY: unit
unit: ## unit tests without the race detector (fast)
	$(GO) test -run '$(RUN)' $(UNIT)

.PHONY: race
race: ## unit tests with the race detector
	$(GO) test -race -short -timeout 30m -run '$(RUN)' $(LONG) $(filter-out $(PURE) $(LONG),$(UNIT))

# Decisions are pure and start no goroutine, and their search is ten times as slow under the race detector.
.PHONY: decisions
decisions: ## the decisions, and the minute's search of their states
	$(GO) test -timeout 30m -run '$(RUN)' $(PURE)

# Scenarios that take more than 20 s each leave themselves out where -short is given.
SCENARIO = AUTOCTL_BINARY=$(CURDIR)/$(BIN)/autoctl-race $(GO) test -race -count=1 -p 1 -parallel 3

.PHONY: short
short: deps build-race ## the scenarios that take less than 20 s each
	$(SCENARIO) -short -timeout 30m -run '$(RUN)' $(SCENARIOS)

.PHONY: scenarios
scenarios: deps build-race ## all scenarios on real PostgreSQL (RUN=regexp picks some)
	$(SCENARIO) -timeout 90m -run '$(RUN)' $(SCENARIOS)
	$(SCENARIO) -timeout 30m -run '$(if $(filter .,$(RUN)),ThirtyFailovers,$(RUN))' $(MODULE)/tests/inprocess

.PHONY: explore
explore: ## search the state space of the decisions for EXPLORE_TIME (30m)
	AUTOCTL_EXPLORE=$(EXPLORE_TIME) $(GO) test -count=1 -timeout 0 -v -run 'Explore|MutationsControl' ./fsm/...

# Further: SEED=n, NODES=3..9, SYNC=number_sync_standbys, ASYNC=nodes without quorum, SETTINGS="name=value ...", FAULTS="kind ..."
.PHONY: soak
soak: deps build ## break a group at random for DURATION (30m) and write a report to bin/soak (docs/soak.md)
	AUTOCTL_BINARY=$(CURDIR)/$(BIN)/autoctl AUTOCTL_SOAK=$(DURATION) AUTOCTL_SOAK_SEED=$(SEED) AUTOCTL_SOAK_NODES=$(NODES) AUTOCTL_SOAK_SYNC=$(SYNC) \
	AUTOCTL_SOAK_ASYNC=$(ASYNC) AUTOCTL_SOAK_SETTINGS='$(SETTINGS)' AUTOCTL_SOAK_FAULTS='$(FAULTS)' AUTOCTL_SOAK_DIR=$(CURDIR)/$(BIN)/soak \
	$(GO) test -count=1 -timeout 0 -v -run '^TestSoak$$' ./tests/soak

.PHONY: bench
bench: deps build ## measure write gaps per fault, BENCH_RUNS times each (5), and the monitor with many groups
	AUTOCTL_BINARY=$(CURDIR)/$(BIN)/autoctl AUTOCTL_BENCH_RUNS=$(BENCH_RUNS) $(GO) test -count=1 -timeout 60m -v -run '^$$' -bench . -benchtime 1x $(SCENARIOS) $(MODULE)/monitor

.PHONY: demo
demo: ## install what is missing, build, and show a failover on this machine (DEMO_FLAGS=--once)
	@scripts/prerequisites demo
	@$(MAKE) --no-print-directory build
	@scripts/demo $(DEMO_FLAGS)

.PHONY: demo-citus
demo-citus: ## the same for a Citus formation (WORKERS=1 to 3); says how to get Citus where it is not installed
	@$(MAKE) --no-print-directory build
	@scripts/demo-citus

.PHONY: lint
lint: $(TOOLS)/golangci-lint ## run the linters (the first run builds them)
	$(TOOLS)/golangci-lint run ./...

$(TOOLS)/golangci-lint:
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

.PHONY: clean
clean: ## remove what was built (the linters stay)
	rm -f $(BIN)/autoctl $(BIN)/autoctl-race
