# The five verbs, and two more. Everything runs in the active Python environment.
.PHONY: setup build test lint bench docs clean

setup:
	python -m pip install -e ".[test,bench,lint,docs]"

build:
	python -m pip install -e . --no-deps

test:
	python -m pytest
	python -m pytest --doctest-modules cnnlib

lint:
	ruff check .
	ruff format --check .
	mypy

bench:
	python -m pytest bench --benchmark-only

docs:
	mkdocs build --strict

clean:
	rm -rf build dist site *.egg-info cnnlib/_kernels.c cnnlib/*.so .pytest_cache .mypy_cache .ruff_cache .benchmarks .hypothesis
	find . -name __pycache__ -type d -exec rm -rf {} +
