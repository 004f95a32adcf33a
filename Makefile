# What a person types. `make help` lists it; each target is one line here and a script where it needs more.

.DEFAULT_GOAL := help
.PHONY: help dev test check fix bench up down generate clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 12

dev: bin/kotoba ## A three-member database on this machine, without Kubernetes (ctrl-c ends it)
	bin/kotoba dev

test: ## Everything: checks, all tests, then the end-to-end tests on a real Kubernetes
	scripts/test.sh

check: ## Format, lints, unit tests, generated files; never writes
	scripts/check.sh

fix: generate ## Format, apply lint suggestions, write generated files
	cargo fmt --all
	cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

bench: ## Measure against the goals, side by side with etcd, and write bench/RESULTS.md
	scripts/bench.sh

generate: ## Write crds/, the chart's copy of it and docs/settings.md from the code
	scripts/generate.sh

up: bin/kotoba ## A real three-node Kubernetes with the operator and a sample cluster, left running
	kind-test/up.sh

down: ## Remove what `make up` made
	kind-test/down.sh

.PHONY: bin/kotoba
bin/kotoba:
	scripts/build-release.sh bin

clean:
	cargo clean
	rm -rf bin
