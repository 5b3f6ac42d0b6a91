# `make demo` and `make test` set up a .venv by themselves and touch nothing else of the system.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lab lint clean

demo: .venv/ready
	$(BIN)/m4kit predict sample_images --out build/demo
	@echo "Open build/demo/index.html in a browser."

test: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/python -m pytest

lab: .venv/ready
	$(BIN)/jupyter lab notebooks/01_quickstart.ipynb

lint: .venv/ready
	$(BIN)/ruff check .

.venv/ready: pyproject.toml scripts/constraints.txt
	test -x $(BIN)/pip || $(PYTHON) scripts/create_venv.py .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c scripts/constraints.txt -e '.[test,train]'
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
