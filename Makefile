# Every task that a person runs. `make help` lists them.
GO ?= go
STATICCHECK = $(GO) tool -modfile=internal/tools/go.mod staticcheck
FUZZTIME ?= 30s
# Tests run in another order each time where CI runs them. By hand the order stays, so that go can keep results of
# packages that have not changed.
SHUFFLE = $(if $(CI),-shuffle=on)

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## Install what the tests and benchmarks need: Debian packages (as root), npm packages into .build.
	@internal/tools/setup test

.PHONY: build
build: ## Build the binary to .build/catenary.
	CGO_ENABLED=0 $(GO) build -trimpath -o .build/catenary ./cmd/catenary

.PHONY: demo
demo: ## Set up, then ask two spoken questions through the whole system.
	@internal/tools/setup demo
	@$(MAKE) --no-print-directory build
	@$(GO) run ./examples/voice/demo -catenary .build/catenary

.PHONY: test
test: ## Set up, then run all checks: what CI runs.
	@internal/tools/setup test
	@$(MAKE) --no-print-directory check-format check-vet check-generate check-builds check-tests

.PHONY: check-format
check-format:
	@bad=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "gofmt would change: $$bad"; exit 1; }
	@$(GO) mod tidy -diff

.PHONY: check-vet
check-vet:
	$(GO) vet ./...
	$(STATICCHECK) ./...

.PHONY: check-generate
check-generate:
	@internal/tools/generate
	@[ -z "$$(git status --porcelain -- '*.pb.go' '*.connect.go')" ] || { echo "generated code is stale: run make generate and commit"; git status --short -- '*.pb.go' '*.connect.go'; exit 1; }

.PHONY: check-builds
check-builds:
	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 $(GO) build ./...
	CGO_ENABLED=0 GOOS=linux GOARCH=arm64 $(GO) build ./...
	CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 $(GO) build ./...

.PHONY: check-tests
check-tests:
	CGO_ENABLED=1 $(GO) test -race $(SHUFFLE) -timeout 25m ./...

.PHONY: generate
generate: ## Write the code of the protocols anew.
	internal/tools/generate

.PHONY: soak
soak: ## Run the property and load tests long, and each fuzz target for FUZZTIME.
	CATENARY_SOAK=1 CGO_ENABLED=1 $(GO) test -race -timeout 30m -count=3 ./internal/loadtest
	CGO_ENABLED=1 $(GO) test -race -timeout 60m $$(grep -rl 'pgregory.net/rapid' --include='*_test.go' . | xargs -n1 dirname | sort -u) -run Property -rapid.checks=5000
	@for pkg in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -hoE '^func (Fuzz[A-Za-z0-9_]+)' $$pkg/*_test.go | awk '{print $$2}'); do \
			echo "fuzz $$pkg $$f"; $(GO) test $$pkg -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) || exit 1; done; done

.PHONY: bench
bench: ## Print every benchmark's table (docs/benchmarks.md).
	$(GO) run ./internal/bench all

.PHONY: gpu-check
gpu-check: ## Build .build/gpu-check, a folder to copy to a machine with an NVIDIA GPU, and run it here.
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags='-s -w' -o .build/gpu-check/gpu-check ./internal/gpucheck
	@cd .build/gpu-check && ./gpu-check

.PHONY: clean
clean: ## Remove what the targets above left in this folder.
	rm -rf .build answer.wav examples/*/.catenary
	find . -name .git -prune -o -path '*/testdata/rapid' -type d -prune -exec rm -rf {} +
