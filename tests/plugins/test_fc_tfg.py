"""The canonical-motion fusion against its definition, what its parts may depend on, and the recipe of three stages."""

from __future__ import annotations

import shutil

import pytest
import torch
from accelerate.state import AcceleratorState

from fctfg import registry
from fctfg.errors import BadRecipe
from fctfg.interfaces import CodeShape, FaceCode
from fctfg.model import build_model
from fctfg.recipe import Recipe
from fctfg.runs import Run
from fctfg.trainer import train
from fctfg_plugins.fc_tfg import CanonicalMotionFusion

CODES = CodeShape(3, 8)


def build(**options) -> CanonicalMotionFusion:
    torch.manual_seed(0)
    return CanonicalMotionFusion(codes=CODES, speech_width=5, **options).eval()


def face(frames: int = 6) -> FaceCode:
    draw = torch.Generator().manual_seed(1)
    return FaceCode(torch.randn(2, *CODES, generator=draw), torch.randn(2, frames, *CODES, generator=draw))


def test_the_flat_one_has_the_size_of_the_facts():
    with torch.device("meta"):
        fusion = registry.build("fusion", "canonical-motion", codes=CodeShape(14, 512), speech_width=512)
    counts = [sum(p.numel() for p in part.parameters()) for part in (fusion.canonical_encoder, fusion.motion_encoder)]
    assert counts == [102_774_784, 157_832_192]


@pytest.mark.parametrize("width", ["flat", "per-code"])
def test_the_sum_of_who_and_how_is_drawn_smoothed_over_time(width):
    fusion, speech = build(width=width), torch.randn(2, 6, 5)
    torch.nn.init.normal_(fusion.temporal.conv.weight)
    latent = fusion(face(), speech)
    total = (latent.canonical[:, None] + latent.motion).double()
    padded = torch.cat([total[:, :1], total, total[:, -1:]], 1)
    weight, bias = fusion.temporal.conv.weight.double(), fusion.temporal.conv.bias.double()
    for frame in range(6):
        for code in range(3):
            rows = slice(0, 8) if width == "per-code" else slice(8 * code, 8 * code + 8)
            expected = bias[rows] + sum(padded[:, frame + k, code] @ weight[rows, :, k].T for k in range(3))
            torch.testing.assert_close(latent.codes[:, frame, code].double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", ["flat", "per-code"])
def test_who_comes_from_the_source_alone_and_how_from_driving_and_sound(width):
    fusion, speech = build(width=width), torch.randn(2, 6, 5)
    one = fusion(face(), speech)
    other = face()
    other.motion = other.motion + 1
    moved = fusion(other, speech)
    assert torch.equal(one.canonical, moved.canonical) and not torch.allclose(one.motion, moved.motion)
    heard = fusion(face(), speech + 1)
    assert torch.equal(one.canonical, heard.canonical) and not torch.allclose(one.motion, heard.motion)
    somebody = face()
    somebody.identity = somebody.identity + 1
    else_ = fusion(somebody, speech)
    assert torch.equal(one.motion, else_.motion) and not torch.allclose(one.canonical, else_.canonical)


def test_a_frame_depends_on_no_more_frames_than_it_says():
    fusion, speech = build(kernel=5), torch.zeros(2, 9, 5)
    torch.nn.init.normal_(fusion.temporal.conv.weight)
    changed = face(9)
    changed.motion[:, 4] += 1
    differs = (fusion(face(9), speech).codes - fusion(changed, speech).codes).abs().amax((0, 2, 3)) > 0
    assert fusion.reach == 2 and differs.tolist() == [abs(frame - 4) <= 2 for frame in range(9)]


@pytest.mark.parametrize(("options", "says"), [({"width": "wide"}, "flat and per-code"), ({"kernel": 4}, "odd")])
def test_an_impossible_shape_is_refused(options, says):
    with pytest.raises(BadRecipe, match=says):
        build(**options)


@pytest.mark.parametrize("encoder", ["hyperstyle", "psp", "e4e", "psp-w"])
def test_the_recipe_fits_together_at_full_size(encoder):
    recipe = Recipe.find("fc-tfg").with_part("visual_encoder", encoder)
    with torch.device("meta"):
        model = build_model(recipe)
    assert model.decoder.codes == (14, 512)
    assert Recipe.suiting({"visual_encoder": "psp", "decoder": "stylegan2"}, "wav2lip").name == "fc-tfg"


SMALL = {
    "size": "16", "evaluate_every": "2", "evaluate_batches": "1", "save_every": "1", "keep": "20",
    "visual_encoder.options": "{base: psp, base_options: {scale: 0.03125}, scale: 0.015625, refinements: 2}",
    "audio_encoder": "tiny", "decoder.options": "{channel_max: 8, w_dim: 8, num_mapping: 2}",
    "losses.gan.options": "{channel_max: 8, r1_every: 2}", "losses.vgg19.options": "{scale: 0.0625, scales: [1]}",
    **{f"stages.{stage}.steps": "4" for stage in ("synthesise", "invert", "refine", "talk")},
    **{f"stages.{stage}.batch": "2" for stage in ("synthesise", "invert", "refine", "talk")},
}


def small(**settings) -> Recipe:
    recipe = Recipe.find("fc-tfg-small")
    for key, value in {**SMALL, **settings}.items():
        recipe = recipe.with_setting(key, value)
    return recipe


def trained(path, recipe: Recipe | None = None) -> tuple[Run, list[str]]:
    """A run through every stage, or the rest of one; and what it said."""
    AcceleratorState._reset_state(reset_partial_state=True)
    run, said = Run(path), []
    if recipe is None:
        train(run.recipe, "synthetic:3", run=run, device="cpu", workers=0, say=said.append)
    else:
        train(recipe, "synthetic:3", out=path, device="cpu", workers=0, say=said.append)
    return run, said


def test_all_stages_train_and_resume_to_the_same_bits(tmp_path):
    run, said = trained(tmp_path / "whole", small())
    assert {line["stage"] for line in run.metrics()} == {"synthesise", "invert", "refine", "talk"}
    whole = run.load_checkpoint()
    assert whole["step"] == 16 and (run.path / "samples").is_dir()
    assert float(whole["model"]["decoder.mean"].abs().sum()) > 0, "the mean latent is saved"
    for stopped_at in (3, 11, 15):  # in the middle of stages, between two steps of lazy regularisation
        stopped = tmp_path / f"stopped-{stopped_at}"
        shutil.copytree(run.path, stopped)
        for checkpoint in (stopped / "checkpoints").iterdir():
            if int(checkpoint.stem.split("-")[1]) > stopped_at:
                checkpoint.unlink()
        resumed = trained(stopped)[0].load_checkpoint()
        assert resumed["step"] == 16
        for part in ("model", "losses"):
            for name, value in whole[part].items():
                assert not torch.is_tensor(value) or torch.equal(value, resumed[part][name]), (stopped_at, name)


def test_a_stage_without_meaning_for_the_encoder_is_passed_over(tmp_path):
    recipe = small(**{f"stages.{stage}.steps": "1" for stage in ("synthesise", "invert", "refine", "talk")})
    run, said = trained(tmp_path / "run", recipe.with_part("visual_encoder", "tiny"))
    assert any("refine is passed over: visual encoder 'tiny' gives no deltas" in line for line in said)
    assert run.load_checkpoint()["step"] == 3
