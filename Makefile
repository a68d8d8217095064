# Tilery. `make demo` and `make test` work on a fresh machine with Python 3.11+ and make (node only for the CDK tests).
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check -q
JOBS ?= 2

.PHONY: help demo demo-cctv workloads test test-long lint synth bench smoke clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    classify a real LiDAR file through the twin, on this machine"
	@echo "make demo-cctv   count people in a real video (VIDEO=clip.mp4 for your own)"
	@echo "make workloads   install what every workload needs, besides point clouds"
	@echo "make test    everything: lint, types, unit, workflow, infrastructure, end to end"
	@echo "make test-long   the same tests, and those that take too long for every change"
	@echo "make lint    ruff and mypy"
	@echo "make synth   write the CloudFormation templates to cdk.out"
	@echo "make bench   measure, and refit the estimates in tilery/rates.json"
	@echo "make smoke STACK=tilery-dev-app   a real run on a real AWS account"

# What one machine needs to run drops: the twin and the point cloud.
.venv/.run: twin/requirements.txt functions/requirements.txt containers/pointcloud/requirements.txt constraints.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing what the twin and the point cloud need into .venv ..."
	@$(PIP) install -r twin/requirements.txt -r containers/pointcloud/requirements.txt
	@$(PIP) install --no-deps -e .
	@touch $@

# What the other workloads need besides.
.venv/.workloads: .venv/.run $(wildcard containers/*/requirements.txt)
	@echo "Installing what every workload needs into .venv ..."
	@$(PIP) install $(foreach file,$(wildcard containers/*/requirements.txt),-r $(file))
	@touch $@

.venv/.cctv: .venv/.run containers/cctv/requirements.txt
	@echo "Installing what CCTV needs into .venv ..."
	@$(PIP) install -r containers/cctv/requirements.txt
	@touch $@

# What cdk deploy and the tests need besides.
.venv/.all: .venv/.workloads requirements.txt
	@echo "Installing what the CDK and the tests need into .venv ..."
	@$(PIP) install -r requirements.txt
	@touch $@

node_modules/.package-lock.json: package.json package-lock.json
	@echo "Installing the CDK command and the checkers into node_modules ..."
	@npm ci --silent --no-audit --no-fund
	@touch $@

workloads: .venv/.workloads

demo: .venv/.run
	@$(BIN)/python -m cli.demo

demo-cctv: .venv/.run .venv/.cctv
	@$(BIN)/python -m cli.demo_cctv $(VIDEO)

test: .venv/.all node_modules/.package-lock.json
	@$(MAKE) --no-print-directory lint
	@$(BIN)/python -m pytest -n $(JOBS) --durations=40 --durations-min=3

test-long: .venv/.all node_modules/.package-lock.json
	@TILERY_LONG_TESTS=1 $(BIN)/python -m pytest -n $(JOBS)

lint: .venv/.all
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check -q .
	@$(BIN)/mypy

synth: .venv/.all node_modules/.package-lock.json
	@CDK_DISABLE_CLI_TELEMETRY=true PATH="$(CURDIR)/$(BIN):$$PATH" npx --no-install cdk synth -q
	@echo "The templates are in cdk.out; deploy them with: npx cdk deploy --all"

bench: .venv/.all
	@$(BIN)/python -m benchmarks.pointcloud.speed --refit

smoke: .venv/.all
	@$(BIN)/python -m benchmarks.smoke --stack $(STACK)

clean:
	rm -rf .venv node_modules cdk.out build .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
