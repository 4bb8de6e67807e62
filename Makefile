# Five verbs. Everything runs in the active Python environment.
.PHONY: build test bench lint clean

build:
	pip install -e ".[test,bench,lint]"

test:
	python -m pytest
	python -m pytest --doctest-modules cnnlib

bench:
	python -m pytest bench --benchmark-only

lint:
	ruff check .
	ruff format --check .
	mypy

clean:
	rm -rf build dist *.egg-info cnnlib/_kernels.c cnnlib/*.so .pytest_cache .mypy_cache .ruff_cache .benchmarks .hypothesis
	find . -name __pycache__ -type d -exec rm -rf {} +
