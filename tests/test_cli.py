from __future__ import annotations

import errno
import json
import subprocess
import sys
import time

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from fctfg import registry
from fctfg.cli import main
from fctfg.recipe import Recipe

OPTIONS = {  # the command line does not grow by accident
    "benchmark": {"face", "audio", "drawn", "seconds", "run", "recipe", "checkpoint", "runs", "detector", "batch", "device",
                  "precision", "path", "against"},
    "benchmark-systems": {"data", "raw", "runs", "out", "clips", "seed", "truth_heads", "metrics", "detector", "speaker", "processes",
                          "embed", "device"},
    "compare": {"systems", "reference", "out", "metrics", "detector", "speaker", "processes", "embed", "device"},
    "demo": {"out"},
    "doctor": {"as_json"},
    "edit": {"picture", "run_folder", "direction", "by", "motions", "name", "out", "speaker", "detector", "device"},
    "evaluate": {"generated", "reference", "out", "metrics", "detector", "speaker", "processes", "embed", "device"},
    "generate": {"face", "audio", "out", "run_folder", "recipe", "checkpoint", "speaker", "when_audio_is_longer",
                 "when_audio_is_shorter", "driving", "motion", "other_driving", "blend", "direction", "by", "canonical", "fps",
                 "detector", "batch", "jobs", "device", "precision", "au", "au_file", "action_units", "blink", "plot"},
    "invert": {"picture", "run_folder", "recipe", "checkpoint", "out", "speaker", "detector", "device"},
    "list-plugins": {"kind", "check", "pairs", "markdown", "as_json"},
    "prepare": {"raw", "out", "crop", "size", "detector", "shard", "workers", "vocals", "min_seconds", "max_seconds", "min_face",
                "action_units"},
    "show": {"kind", "name"},
    "sync-check": {"videos", "run_folder", "weights", "as_json", "png", "fix", "detector", "device"},
    "train": {"recipe", "visual_encoder", "audio_encoder", "fusion", "decoder", "losses", "settings", "data", "out", "resume",
              "start_from", "device", "precision", "workers", "dry_run"},
    "weights check": {"files", "as_json"},
    "weights fetch": {"names", "accept_licence", "url"},
    "weights export": {"run_folder", "out", "epoch"},
    "weights import": {"files", "link", "name", "resume_iters", "first_epoch"},
    "weights list": {"names", "here", "as_json"},
}


def commands(group, before=""):
    """Every command by its full name, those of groups within."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def test_the_options_are_these():
    assert {name: {p.name for p in command.params} for name, command in commands(main)} == OPTIONS


@pytest.mark.parametrize("arguments", [["--help"], ["list-plugins"], ["train", "--help"], ["generate", "--help"],
                                       ["train", "--recipe", "tiny", "--dry-run"]])
def test_quick_commands_import_neither_torch_nor_plugins(arguments):
    code = ("import sys; from click.testing import CliRunner; from fctfg.cli import main\n"
            f"assert CliRunner().invoke(main, {arguments!r}).exit_code == 0\n"
            "loaded = {'torch', 'fctfg_plugins', 'av', 'dlib', 'librosa'} & set(sys.modules)\n"
            "assert not loaded, loaded")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_list_plugins_as_json():
    rows = json.loads(run("list-plugins", "--kind", "decoder", "--json").output)
    assert {"kind": "decoder", "name": "tiny", "package": "fctfg", "version": rows[0]["version"]} in rows


def test_a_broken_plugin_is_reported_and_the_others_stay(installed):
    installed("bad", "fctfg.decoders", bad="no_such_module:X")
    done = run("list-plugins", "--check")
    assert done.exit_code == 1
    assert "decoder 'bad' of bad 1.0 failed to import: No module named 'no_such_module'" in done.output
    assert "decoder         tiny             fctfg" in done.output
    assert run("show", "decoder", "tiny").exit_code == 0
    assert "no_such_module" in run("doctor").output


def test_a_plugin_that_lacks_an_extra_is_no_failure(installed, monkeypatch):
    monkeypatch.setitem(registry.EXTRAS, "no_such_module", "nothing")
    installed("bare", "fctfg.decoders", bare="no_such_module:X")
    done = run("list-plugins", "--kind", "decoder", "--check")
    assert done.exit_code == 0 and "pip install 'fctfg[nothing]' brings it" in done.output


def test_show_gives_docstring_options_paper_and_licence():
    shown = run("show", "loss", "gan").output
    for part in ("Non-saturating GAN loss", "lr: float = 0.001", "arXiv:1406.2661", "Licence: MIT"):
        assert part in shown
    assert "visual_encoder: tiny" in run("show", "recipe", "tiny").output
    assert "No kind 'decodr'. Did you mean 'decoder'?" in run("show", "decodr", "tiny").output


def test_dry_run_prints_a_recipe_that_reads_back():
    import yaml

    done = run("train", "--recipe", "tiny", "--loss", "l1=0.5", "--set", "stages.colour.steps=3", "--set", "size=64",
               "--precision", "bf16", "--dry-run")
    recipe = Recipe.from_dict(yaml.safe_load(done.output))
    assert (recipe.stages[0].steps, recipe.size, recipe.precision) == (3, 64, "bf16")
    assert [stage.losses["l1"].weight for stage in recipe.stages] == [0.5, 0.5]


def test_a_recipe_file_works_like_a_recipe_plugin(tmp_path):
    (tmp_path / "my recipe.yaml").write_text(Recipe.find("tiny").dump())
    assert run("train", "--recipe", tmp_path / "my recipe.yaml", "--dry-run").output == Recipe.find("tiny").dump()


@pytest.mark.parametrize("arguments, message", [
    (["train", "--recipe", "tinny"], "No recipe called 'tinny'. Did you mean 'tiny'?"),
    (["train", "--recipe", "gone.yaml"], "gone.yaml cannot be read"),
    (["train", "--recipe", "tiny", "--decoder", "tyny"], "No decoder called 'tyny'. Did you mean 'tiny'?"),
    (["train", "--recipe", "tiny"], "Give --data FOLDER, made by `fctfg prepare RAW_FOLDER FOLDER`, or --data synthetic."),
    (["train", "--recipe", "tiny", "--set", "size", "--data", "synthetic"], "--set size: write --set stages.0.lr=1e-4"),
    (["train", "--recipe", "tiny", "--set", "sise=3", "--data", "synthetic"], "no key 'sise'. Did you mean 'size'?"),
    (["train", "--recipe", "tiny", "--loss", "l1=much", "--data", "synthetic"], "'much' is not a number"),
    (["train", "--recipe", "tiny", "--loss", "l3=1", "--data", "synthetic"], "No loss called 'l3'. Did you mean 'l2'?"),
    (["train", "--recipe", "tiny", "--decoder", "wav2lip", "--data", "synthetic"], "needs skips, which visual encoder 'tiny' does not give"),
    (["train", "--resume", "nowhere", "--data", "synthetic"], "There is no run folder nowhere."),
    (["train", "--recipe", "warp", "--data", "synthetic"], "has nothing to train; use it with fctfg generate --recipe warp"),
    (["generate", "--face", "a.mp4", "--audio", "b.wav", "--run", "nowhere"], "There is no run folder nowhere."),
    (["generate", "--face", "a.mp4", "--audio", "b.wav"], "Give --run RUN, --checkpoint FILE, or --recipe warp"),
    (["generate", "--face", "a.mp4", "--audio", "b.wav", "--recipe", "wav2lip"], "needs weights"),
])
def test_what_cannot_work_is_refused_in_one_line(arguments, message):
    done = run(*arguments)
    assert done.exit_code == 1 and done.output.startswith("Error: ") and done.output.count("\n") == 1, done.output
    assert message in done.output


def test_a_picture_needs_a_sound(tmp_path):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    assert "a.png has no sound of its own; give the speech with --audio." in run(
        "generate", "--recipe", "warp", "--face", tmp_path / "a.png").output


def test_a_full_disk_is_one_line_that_says_what_would_work(monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device", "a/run/metrics.jsonl")

    monkeypatch.setattr("fctfg.recipe.Recipe.find", full)
    done = run("train", "--recipe", "tiny", "--dry-run")
    assert done.exit_code == 1 and done.output.count("\n") == 1
    assert done.output.startswith("Error: a/run/metrics.jsonl: No space left on device. Make room, or write elsewhere;")


def test_a_refusal_is_one_line_on_stderr_and_no_traceback(refused):
    assert refused("train", "--recipe", "tinny").startswith("Error: No recipe called 'tinny'.")


def test_unknown_command_and_option_suggest():
    assert "Did you mean 'train'?" in run("trian").output
    assert "--recipe" in run("train", "--recpie", "tiny").output


def test_doctor_says_what_is_there():
    found = json.loads(run("doctor", "--json").output)
    assert found["versions"]["torch"] and found["codecs"]["H.264 encoder"]
    assert "shape_predictor_68_face_landmarks.dat" in found["weight files"]
    text = run("doctor").output
    assert "devices:" in text and "cpu" in text


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send to a process")
def test_a_terminated_command_leaves_nothing_half_written(tmp_path):
    from fctfg.data import write_synthetic_video

    write_synthetic_video(tmp_path / "a face.mp4", seconds=5)
    process = subprocess.Popen([sys.executable, "-m", "fctfg", "generate", "--recipe", "warp", "--face", "a face.mp4", "--out", "out.mp4"],
                               cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".out.mp4*")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.terminate()
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 1 and "Traceback" not in said, said
    assert [path.name for path in tmp_path.iterdir()] == ["a face.mp4"]
