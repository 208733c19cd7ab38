# Twohop: `make e2e` and `make test` are all that a fresh machine needs.
# Variables of the run (IMAGES, CLAIMS, KEEP, …) are listed in README.md.

export CGO_ENABLED = 0

.PHONY: e2e e2e-all test docs build images up down clean

e2e: build ## prove the goals (or CLAIMS=…) on a live cluster
	@bin/twohop run

e2e-all: build ## prove the whole catalogue
	@bin/twohop run --claims all

test: ## everything that needs no cluster: vet, unit tests, linters
	@started=$$(date +%s); \
	go vet ./... && \
	go test -vet=off ./... && \
	if [ -x scripts/lint.sh ]; then scripts/lint.sh; else echo "scripts/lint.sh is not there: nothing was linted"; fi && \
	echo "make test: passed in $$(( $$(date +%s) - started )) s"

docs: ## write what is generated from the code: docs/claims.md
	@mkdir -p docs
	@go run ./cmd/twohop claims -o markdown > docs/claims.md.new && mv docs/claims.md.new docs/claims.md

build: ## compile the harness and its specs
	@go build -o bin/ ./cmd/twohop
	@go test -c -o bin/suites.test ./suites

images up down clean: build
	@bin/twohop $@
