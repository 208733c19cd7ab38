# Twohop: `make e2e` and `make test` are all that a fresh machine needs.
# Variables of the run (IMAGES, CLAIMS, KEEP, …) are listed in README.md.

export CGO_ENABLED = 0

.PHONY: e2e e2e-all mutants bench bad-days test nightly docs build images up down clean

e2e: build ## prove the goals (or CLAIMS=…) on a live cluster
	@bin/twohop run

e2e-all: build ## prove the whole catalogue
	@bin/twohop run --claims all

test: ## everything that needs no cluster: unit tests, vet, linters
	@started=$$(date +%s); \
	go test -vet=off ./... && \
	scripts/lint.sh && \
	echo "make test: passed in $$(( $$(date +%s) - started )) s"

nightly: build ## judge the catalogue, say what changed since the last night, keep the last runs
	@scripts/nightly.sh

docs: ## write what is generated from the code: docs/claims.md
	@mkdir -p docs
	@go run ./cmd/twohop claims -o markdown > docs/claims.md.new && mv docs/claims.md.new docs/claims.md

mutants: build ## plant faults, and show that the right claims turn; writes docs/mutants.md
	@bin/twohop mutants --table docs/mutants.md

bench: build ## the phases of a run: no cluster, and cluster kept (COLD=1: nothing built, first)
	@bin/twohop bench

bad-days: build ## interruptions, kills and broken images, on a real engine
	@scripts/bad-days.sh

build: ## compile the harness and its specs
	@go build -o bin/ ./cmd/twohop
	@go test -c -o bin/suites.test ./suites

images up down clean: build
	@bin/twohop $@
