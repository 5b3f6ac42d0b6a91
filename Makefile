# `make demo` and `make test` set up a .venv and change nothing else on the system.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip -qq --disable-pip-version-check install -c scripts/constraints.txt

.PHONY: demo test lab lint docs clean

demo: .venv/ready
	$(BIN)/m4kit predict sample_images --recursive --overlay --out build/demo
	@echo "Open build/demo/index.html in a browser."

# Trainings use all of torch's threads; beside other tests those would wait for each other.
test: .venv/ready
	$(BIN)/ruff check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

lab: .venv/ready
	$(BIN)/jupyter lab notebooks/01_quickstart.ipynb

lint: .venv/ready
	$(BIN)/ruff check .

# Every warning is an error, such as a link that leads nowhere.
docs: .venv/docs
	$(BIN)/python -m sphinx -q -W --keep-going -c docs -d build/doctrees -b html . build/docs
	@echo "Open build/docs/index.html in a browser."

# An isolated build would download setuptools each time, and fail without a network.
.venv/ready: pyproject.toml scripts/constraints.txt
	@echo "Setting up .venv. This takes a few minutes the first time."
	@test -x $(BIN)/pip || $(PYTHON) scripts/create_venv.py .venv
	@$(INSTALL) 'setuptools>=77'
	@$(INSTALL) --no-build-isolation -e '.[test,train]'
	@touch $@

.venv/docs: .venv/ready
	@$(INSTALL) --no-build-isolation -e '.[docs]'
	@touch $@

clean:
	rm -rf .venv build dist *.egg-info
