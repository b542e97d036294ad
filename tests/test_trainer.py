from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from fctfg import registry
from fctfg.errors import BadRecipe, BadRun, FctfgError, TrainingFailed
from fctfg.interfaces import Loss
from fctfg.model import build_model
from fctfg.recipe import Recipe
from fctfg.runs import Run, load_model
from fctfg.trainer import Trainer, accelerator_for, build_losses, decay, train, update_ema

TINY = Recipe.find("tiny").with_setting("clip_frames", "1").with_setting("size", "16")


@pytest.fixture(autouse=True)
def _fresh_accelerate():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def recipe(**settings) -> Recipe:
    changed = TINY
    for key, value in settings.items():
        changed = changed.with_setting(key.replace("__", "."), json.dumps(value))
    return changed


def trained(chosen: Recipe, path, **options) -> Run:
    said = []
    assert train(chosen, "synthetic", out=path, device="cpu", workers=0, say=said.append, **options) == 0
    AcceleratorState._reset_state(reset_partial_state=True)
    return Run(path)


def checkpoint(run: Run) -> dict:
    return run.load_checkpoint()


def test_a_loss_falls_and_all_that_generate_needs_is_there(tmp_path):
    run = trained(recipe(stages__colour__steps=30, stages__adversary__steps=2, evaluate_every=15), tmp_path / "run")
    lines = [line for line in run.metrics() if line["stage"] == "colour"]
    held_out = [line["eval/l1"] for line in lines if "eval/l1" in line]
    assert held_out[-1] < 0.8 * lines[0]["l1"]
    model, found = load_model(run.path)
    assert found.to_dict() == run.recipe.to_dict() and not model.training
    assert len(list((run.path / "samples").glob("*.png"))) >= 2 and list(run.path.glob("events.out.tfevents.*"))


def test_frozen_parts_keep_their_bits(tmp_path):
    run = trained(recipe(stages__colour__train=["decoder"], stages__adversary__steps=1), tmp_path / "run")
    fresh, (after, _) = build_model(run.recipe), load_model(run.path)
    for name in ("visual_encoder", "audio_encoder", "fusion"):
        for a, b in zip(getattr(fresh, name).parameters(), getattr(after, name).parameters()):
            assert torch.equal(a, b)
    assert not torch.equal(fresh.decoder.net.weight, after.decoder.net.weight)


class NaNLoss(Loss):
    """Not a number, always."""

    def forward(self, output, clip):
        return output.frames.mean() * float("nan")


def test_a_loss_of_weight_zero_changes_nothing(tmp_path):
    one = recipe(stages__colour__losses={"l1": 1.0}, stages__adversary__steps=1)
    with registry.offering("loss", nan=NaNLoss):
        two = Recipe.from_dict({**one.to_dict(), "losses": {**one.to_dict()["losses"], "nan": {"name": "nan"}}})
        two = two.with_setting("stages.colour.losses.nan", "0")
        runs = [trained(one, tmp_path / "one"), trained(two, tmp_path / "two")]
    a, b = (checkpoint(run)["model"] for run in runs)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_loss_that_is_not_finite_is_skipped_counted_and_stops_the_run_with_advice(tmp_path):
    with registry.offering("loss", nan=NaNLoss):
        chosen = recipe(patience=4).with_loss("nan", 1.0)
        with pytest.raises(TrainingFailed, match="not finite for 4 steps in a row.*lower lr"):
            train(chosen, "synthetic", out=tmp_path / "run", device="cpu", workers=0, say=lambda _line: None)
    assert [line["skipped"] for line in Run(tmp_path / "run").metrics() if "skipped" in line] == [1, 2, 3, 4]


def test_two_accumulated_batches_step_as_one_of_twice_the_size(tmp_path):
    common = dict(stages__colour__steps=3, stages__colour__losses={"l1": 1.0}, stages__adversary__steps=1)
    runs = [trained(recipe(batch=2, accumulate=2, **common), tmp_path / "two"), trained(recipe(batch=4, **common), tmp_path / "one")]
    a, b = (checkpoint(run)["model"] for run in runs)
    # The adversary stage's critic learns on each batch, so only what it leaves alone is compared.
    for name in a:
        if not name.startswith("decoder"):
            torch.testing.assert_close(a[name], b[name], rtol=1e-4, atol=1e-6)


def test_critics_may_take_several_steps_to_one_of_the_parts(tmp_path):
    first, second, third = (
        checkpoint(trained(recipe(stages__colour__steps=1, stages__adversary__steps=steps, stages__adversary__critic_steps=3),
                           tmp_path / str(steps))) for steps in (1, 2, 3))
    parts = [saved["model"]["decoder.net.weight"] for saved in (first, second, third)]
    assert torch.equal(parts[0], parts[1]) and not torch.equal(parts[1], parts[2])
    critics = [torch.cat([value.flatten() for value in saved["losses"].values() if torch.is_tensor(value)])
               for saved in (first, second, third)]
    assert not torch.equal(critics[0], critics[1]) and not torch.equal(critics[1], critics[2])


def test_learning_rates_fall_in_a_line_to_nought_and_critics_get_theirs_back(tmp_path):
    stage = recipe(stages__adversary__steps=10, stages__adversary__decay_from=0.6).stages[1]
    assert [decay(stage, step) for step in (1, 6, 7, 8, 9, 10)] == [1, 1, 1, 0.75, 0.5, 0.25]
    run = trained(recipe(stages__colour__steps=1, stages__adversary__steps=4, stages__adversary__decay_from=0), tmp_path / "run")
    saved = checkpoint(run)["losses"]["gan._extra_state"]["param_groups"][0]
    assert saved["lr"] == saved["initial_lr"] == 0.001
    with pytest.raises(BadRecipe, match="decay_from: Input should be less than 1"):
        recipe(stages__adversary__decay_from=20)


def test_the_moving_average_follows_its_closed_form():
    model, ema = nn.Linear(1, 1), nn.Linear(1, 1)
    with torch.no_grad():
        model.weight.fill_(1.0)
        ema.weight.fill_(0.0)
    for _ in range(3):
        update_ema(ema, model, 0.9)
    torch.testing.assert_close(ema.weight.item(), 1 - 0.9**3)


def test_bf16_trains(tmp_path):
    run = trained(recipe(precision="bf16", stages__colour__steps=3, stages__adversary__steps=3), tmp_path / "run")
    assert all(torch.isfinite(value).all() for value in checkpoint(run)["model"].values())


def test_a_stage_ends_and_a_weight_switches_when_their_conditions_hold(tmp_path):
    said = []
    chosen = recipe(stages__colour__until="eval/l1 < 100", evaluate_every=5)
    train(chosen, "synthetic", out=tmp_path / "run", device="cpu", workers=0, say=said.append)
    assert any("colour ends at step 5" in line for line in said)
    assert any("gan counts 0.1 from now on" in line for line in said)
    assert checkpoint(Run(tmp_path / "run"))["switched"] == ["adversary/gan"]


def test_another_run_can_be_started_from(tmp_path):
    first = trained(recipe(stages__colour__steps=2, stages__adversary__steps=1), tmp_path / "first")
    said = []
    train(recipe(stages__colour__steps=1, stages__adversary__steps=1, stages__colour__lr=1e-30, stages__adversary__lr=1e-30),
          "synthetic", out=tmp_path / "second", start_from=[first.path], device="cpu", workers=0, say=said.append)
    a, b = load_model(first.path)[0], load_model(tmp_path / "second")[0]
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters()))
    assert any("visual_encoder, audio_encoder, fusion, decoder" in line for line in said)


def test_a_folder_that_holds_a_run_is_not_written_over(tmp_path):
    run = trained(recipe(stages__colour__steps=1, stages__adversary__steps=1), tmp_path / "run")
    with pytest.raises(BadRun, match="is not empty; go on with --resume"):
        train(TINY, "synthetic", out=run.path, device="cpu", workers=0)


def test_a_folder_that_cannot_be_written_to_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "a file").touch()
    with pytest.raises(BadRun, match="a file/run cannot be written to: Not a directory. Make room, or give another --out"):
        Run.create(TINY, tmp_path / "a file/run")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Run, "write_recipe", full)
    with pytest.raises(BadRun, match="No space left on device"):
        Run.create(TINY, tmp_path / "run")
    assert [path.name for path in tmp_path.iterdir()] == ["a file"]


def test_a_run_that_fails_at_its_first_step_leaves_no_folder(tmp_path):
    alone = Recipe.find("sync-expert").with_setting("stages.0.batch", "1")
    with pytest.raises(FctfgError, match="batch of one"):
        train(alone, "synthetic", out=tmp_path / "run", device="cpu", workers=0)
    assert not list(tmp_path.iterdir())


def test_a_run_with_nothing_left_to_train_says_so(tmp_path):
    run = trained(recipe(stages__colour__steps=1, stages__adversary__steps=1), tmp_path / "run")
    said = []
    train(run.recipe, "synthetic", run=run, device="cpu", workers=0, say=said.append)
    assert any("It has been through every stage; train on in a new run with --start-from" in line for line in said), said


def test_a_checkpoint_that_does_not_fit_its_recipe_is_refused(tmp_path):
    run = trained(recipe(stages__colour__steps=1, stages__adversary__steps=1), tmp_path / "run")
    changed = run.recipe.with_setting("audio_encoder.options.width", "5")
    with pytest.raises(BadRun, match="its checkpoint does not fit its recipe.yaml"):
        Trainer(changed, run, "synthetic", accelerator_for("fp32", "cpu"), build_model(changed), build_losses(changed), resume=True)


def test_numbered_folders_count_on(tmp_path):
    first, second = Run.create(TINY, root=tmp_path), Run.create(TINY, root=tmp_path)
    assert (first.path.name, second.path.name) == ("0001-tiny", "0002-tiny")


# Real processes, killed and resumed

LONG = ["--set", "stages.colour.steps=24", "--set", "stages.adversary.steps=6", "--set", "save_every=5", "--set", "evaluate_every=16", "--set", "batch=2",
        "--set", "clip_frames=1", "--set", "size=16"]


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "fctfg", "train", "--data", "synthetic", "--device", "cpu", "--workers", "0", *map(str, arguments)]


def start_and_wait_for_checkpoint(run, *arguments) -> subprocess.Popen:
    process = subprocess.Popen(command(*arguments), cwd=run.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while not list(run.glob("checkpoints/step-*.pt")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    assert process.poll() is None, process.stdout.read()
    return process


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command("--recipe", "tiny", *LONG, "--out", whole), check=True, capture_output=True, cwd=tmp_path, env=env)
    process = start_and_wait_for_checkpoint(killed, "--recipe", "tiny", *LONG, "--out", killed)
    process.kill()
    process.communicate()
    assert not (killed / "model.safetensors").exists() or len(Run(killed).metrics()) < len(Run(whole).metrics())
    subprocess.run(command("--resume", killed), check=True, capture_output=True, cwd=tmp_path, env=env)
    a, b = checkpoint(Run(whole)), checkpoint(Run(killed))
    assert a["step"] == b["step"] == 30
    for part in ("model", "losses"):
        assert all(torch.equal(a[part][name], b[part][name]) for name in a[part] if torch.is_tensor(a[part][name]))
    assert Run(whole).metrics() == Run(killed).metrics()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send to a process")
def test_a_terminated_run_saves_first_and_says_how_to_go_on(tmp_path, refused):
    run = tmp_path / "a run"
    process = start_and_wait_for_checkpoint(run, "--recipe", "tiny", *LONG, "--out", run)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 128 + signal.SIGTERM and "Go on with: fctfg train --resume" in said, said
    assert checkpoint(Run(run))["step"] >= max(line["step"] for line in Run(run).metrics())
    message = refused("train", "--resume", run, "--data", "synthetic", "--set", "stages.colour.lr=1")
    assert "was begun with another recipe: stages.0.lr differs" in message


@pytest.mark.slow
def test_two_processes_step_as_one_with_twice_the_batch(tmp_path):
    common = ["--recipe", "tiny", "--set", "stages.colour.steps=3", "--set", "stages.adversary.steps=2", "--set", "clip_frames=1",
              "--set", "stages.colour.critics=[gan]"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *command(*common, "--set", "batch=2", "--out", tmp_path / "two")[1:]],
                   check=True, cwd=tmp_path, env=environment)
    subprocess.run(command(*common, "--set", "batch=4", "--out", tmp_path / "one"), check=True, cwd=tmp_path, env=environment)
    a, b = checkpoint(Run(tmp_path / "two")), checkpoint(Run(tmp_path / "one"))
    for part in ("model", "losses"):
        for name, value in a[part].items():
            if torch.is_tensor(value):
                torch.testing.assert_close(value, b[part][name], rtol=1e-3, atol=1e-5)
