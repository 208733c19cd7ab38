# Twohop: `make e2e` and `make test` are all that a fresh machine needs.
# Variables of the run (IMAGES, CLAIMS, KEEP, …) are listed in README.md.

export CGO_ENABLED = 0

.PHONY: e2e e2e-all test build images up down clean

e2e: build ## prove the goals (or CLAIMS=…) on a live cluster
	@bin/twohop run

e2e-all: build ## prove the whole catalogue
	@bin/twohop run --claims all

build: ## compile the harness and its specs
	@go build -o bin/ ./cmd/twohop
	@go test -c -o bin/suites.test ./suites

images up down clean: build
	@bin/twohop $@
