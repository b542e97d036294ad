.PHONY: install test slow shared bench

install:
	pip install -e '.[test]'

test:
	pytest

slow:
	pytest -m slow

shared:  # real clips: make shared FCTFG_DATA=folder
	FCTFG_DATA=$(FCTFG_DATA) pytest -m shared

bench:
	for script in benchmarks/*.py; do python $$script; done
