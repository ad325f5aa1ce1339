# Every target sets up what it needs; nothing has to be installed first but Python 3.11+.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export BENTOML_DO_NOT_TRACK := True
export MLFLOW_DISABLE_TELEMETRY := true
export GX_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1
export FEAST_USAGE := False

.DEFAULT_GOAL := help
.PHONY: help env dashboard try-dashboard browser screenshots demo test check format docs bench lock clean

help: ## List the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

env: $(VENV)/.complete ## Make the environment from the hashed lock

$(VENV)/.complete: requirements/bootstrap.lock requirements/punctual.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Punctual needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another one: make env PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	$(BIN)/uv pip sync --python $(BIN)/python --compile-bytecode --require-hashes requirements/punctual.lock
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps --no-build-isolation --editable .
	@touch $@

DASHBOARD := serving/dashboard
LIBRARIES := $(DASHBOARD)/assets/vendor/.complete

dashboard: $(LIBRARIES) ## Fetch the libraries of the pages (the machine's npm, or the package index's)

$(LIBRARIES): $(VENV)/.complete $(DASHBOARD)/package-lock.json requirements/node.lock
	$(BIN)/python -m pipelines.front_end

# Without them the API runs all the same, and the pages say what is missing.
try-dashboard: env
	@$(MAKE) --no-print-directory dashboard || true

browser: ## Install Debian's Chromium for the browser tests, where it is missing (needs root)
	@command -v chromium chromium-browser google-chrome >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; } || { echo "no Chromium, and installing it needs root and apt: run 'sudo make browser', or set PUNCTUAL_BROWSER to one"; exit 1; }
	@command -v chromium chromium-browser google-chrome >/dev/null || { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install --yes --no-install-recommends chromium fonts-dejavu-core; }

screenshots: try-dashboard ## Make the pictures of the docs, with a headless Chromium
	$(BIN)/python -m pytest -q -m on_demand tests/browser/test_screenshots.py -s

demo: try-dashboard ## The whole chain on a simulated city, by itself (KEEP=1 leaves the service running)
	$(BIN)/punctual demo $(if $(KEEP),--keep,)

test: try-dashboard ## The whole test suite
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: env ## Style, types and the import floors
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: env ## Rewrite the files in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: env ## Write the reference pages that are made from the definitions
	$(BIN)/python -m pipelines.documents

bench: env ## Run the benchmarks (BENCH=name for one)
	$(BIN)/python -m benchmarks $(BENCH)

lock: env ## Renew the hashed locks
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.11 requirements/bootstrap.in -o requirements/bootstrap.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.11 --group pyproject.toml:dev pyproject.toml -o requirements/punctual.lock
	$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-emit-index-url --python-version 3.11 requirements/node.in -o requirements/node.lock

clean: ## Remove the environment, workspace and reports
	rm -rf $(VENV) .venv-node $(DASHBOARD)/assets/vendor workspace reports .mypy_cache .ruff_cache .pytest_cache .import_linter_cache *.egg-info
