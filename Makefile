# Twohop: `make e2e` and `make test` are all that a fresh machine needs; `make
# help` lists the rest. README.md lists a run's variables (IMAGES, CLAIMS, KEEP, …).

export CGO_ENABLED = 0

.PHONY: e2e e2e-all mutants matrix agreement read-only release release-test pins bench bad-days test record reproduce nightly new-claim docs build images up down clean help

e2e: build ## judge the guide's goals on a live cluster, or the claims in CLAIMS=…
	@bin/twohop run

e2e-all: build ## judge every claim
	@bin/twohop run --claims all

test: ## run what needs no cluster: unit tests, vet and linters
	@scripts/test.sh

nightly: build ## judge every claim, show what changed since the last night, keep the last runs
	@scripts/nightly.sh

new-claim: ## add a claim's skeleton (ID=H2-ca-plain CHAPTER=hop2, EXPECTED=refuted)
	@go build -o bin/new-claim ./scripts/newclaim
	@bin/new-claim --id "$${ID-}" --chapter "$${CHAPTER-}" --expected "$${EXPECTED:-supported}"

docs: ## generate docs/claims.md from the registry and the drawing in docs/architecture.md
	@mkdir -p docs
	@go run ./cmd/twohop claims -o markdown > docs/claims.md.new && mv docs/claims.md.new docs/claims.md
	@go test ./docs -run '^TestArchitecture$$' -update >/dev/null || go test ./docs -run '^TestArchitecture$$'

mutants: build ## plant faults, check that the right claims turn, write docs/mutants.md
	@bin/twohop mutants --table docs/mutants.md

MUTATION = internal/replay/mutation
record: ## pack finished runs (WHOLE=out/… RUN=out/… OTHER=out/…) into the recordings that tests replay; takes minutes
	@test -n "$(WHOLE)" -a -n "$(RUN)" -a -n "$(OTHER)" || { echo "make record: name three finished runs of the same commit: WHOLE=out/… (claims: all), RUN=out/… (goals) and OTHER=out/… (a test puts its G1 into RUN)" >&2; exit 2; }
	@mkdir -p $(MUTATION)/testdata
	@go run ./internal/replay/record $(RUN) internal/replay/testdata/run.tgz
	@go run ./internal/replay/record $(OTHER) internal/replay/testdata/other-g1.tgz G1
	@go run ./internal/replay/record $(WHOLE) $(MUTATION)/testdata/whole.tgz
	@go run ./$(MUTATION)/find $(MUTATION)/testdata/whole.tgz $(MUTATION)/testdata/reads.json.gz

matrix: build ## judge every claim on each combination of versions, write docs/versions.md and out/matrix/matrix.html
	@bin/twohop matrix --table docs/versions.md --record versions

agreement: ## hold what istiod's code computes against the recordings, and the audit against rehearsed faults; write docs/agreement*.md
	@go test ./internal/computed/agreement -computed -update -count=1
	@go run ./scripts/score -table docs/agreement.md

read-only: build ## prove by the API server's audit log that a live audit changes nothing
	@scripts/prove-read-only.sh

release: ## build archives, checksums, SBOMs and krew's manifest into out/release (PLATFORMS, ISTIO_LINES, VERSION, RELEASE_URL)
	@scripts/release.sh

release-test: ## build this machine's archive twice, install it as krew does, audit without Go
	@go test -count=1 -timeout 60m -v ./packaging -release

pins: ## ask whether all that the source lane pins is still served
	@scripts/pins.sh

bench: build ## time each phase of a run (COLD=1: also with nothing built)
	@bin/twohop bench

bad-days: build ## try interruptions, kills and broken images on a real engine
	@scripts/bad-days.sh

reproduce: build ## run five reproduce scripts on a kept cluster and check what they show
	@scripts/reproduce-test.sh

build: ## compile the harness and its specs into bin/
	@go build -o bin/ ./cmd/twohop
	@go test -c -o bin/suites.test ./suites

images: build ## prepare the images and do nothing else
up: build ## bring up a cluster with Istio and leave it up
down: build ## remove the cluster and its network
clean: build ## remove every cluster, the images and the cache
images up down clean:
	@bin/twohop $@

help: ## list these targets
	@echo "Usage: make [TARGET] [VARIABLE=VALUE]..., where TARGET is e2e if left out"
	@echo
	@sed -n 's/^\([a-z0-9-]*\):.* ## /\1\t/p' $(MAKEFILE_LIST) | while IFS="$$(printf '\t')" read -r target text; do \
		printf '  %-12s %s\n' "$$target" "$$text"; \
	done
	@echo
	@echo "README.md lists the variables of a run; \"bin/twohop --help\" lists the commands."
