"""The example package, installed into a clean folder, is found and trained like a bundled plugin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "fctfg-hello"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    site = tmp_path_factory.mktemp("site")
    copy = tmp_path_factory.mktemp("source") / "fctfg-hello"  # a build leaves files beside its source
    import shutil

    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    done = subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
                           "--disable-pip-version-check", "--target", str(site), str(copy)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return site


@pytest.fixture
def with_hello(fctfg, site):
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    return lambda *arguments: fctfg(*arguments, env={"PYTHONPATH": path})


def test_it_is_listed_and_shown(with_hello):
    assert "decoder         hello            fctfg-hello 0.1.0  ok" in with_hello("list-plugins", "--kind", "decoder", "--check").stdout
    shown = with_hello("show", "decoder", "hello").stdout
    assert "channels: int = 16" in shown and "Licence: MIT" in shown


def test_it_trains_and_the_picture_is_learnt(with_hello, tmp_path):
    import json

    done = with_hello("train", "--recipe", "hello", "--data", "synthetic", "--out", tmp_path / "run", "--device", "cpu", "--workers", 0)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    held_out = [line["eval/l1"] for line in lines if "eval/l1" in line]
    assert held_out[-1] < held_out[0]
    assert (tmp_path / "run" / "model.safetensors").is_file()


def test_its_own_tests_pass(site):
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-c", os.devnull, str(EXAMPLE / "tests")], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}, cwd=site)
    assert done.returncode == 0, done.stdout
