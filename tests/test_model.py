from __future__ import annotations

import pytest
import torch

from fctfg import registry
from fctfg.errors import BadData, BadOption, BadRecipe
from fctfg.interfaces import SkipAdapter, SkipShape
from fctfg.model import build_model
from fctfg.recipe import Part, Recipe
from fctfg.testing import B, T, random_clip

TINY = Recipe.find("tiny")


def test_the_four_parts_fit_and_draw():
    output = build_model(TINY)(random_clip(32))
    assert output.frames.shape == (B, T, 3, 32, 32)
    assert output.speech.shape == (B, T, 8)


def test_the_seed_decides_the_weights():
    one, two, other = (build_model(TINY.model_copy(update={"seed": seed})) for seed in (1, 1, 2))
    same = [torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters())]
    assert all(same) and not torch.equal(next(one.parameters()), next(other.parameters()))


def test_a_decoder_that_needs_skips_is_refused_with_the_encoders_that_would_do():
    recipe = TINY.with_part("decoder", "wav2lip").with_setting("size", "96")
    with pytest.raises(BadRecipe, match="decoder 'wav2lip' needs skips, which visual encoder 'tiny' does not give; .*wav2lip do"):
        build_model(recipe)


def test_an_option_the_core_gives_cannot_be_given_again():
    recipe = TINY.model_copy(update={"decoder": Part(name="tiny", options={"size": 8})})
    with pytest.raises(BadRecipe, match="decoder 'tiny' is given .*'size'.* by the recipe itself"):
        build_model(recipe)
    with pytest.raises(BadOption):
        build_model(TINY.model_copy(update={"decoder": Part(name="tiny", options={"depth": 8})}))


def test_a_clip_without_what_the_encoder_needs_is_refused():
    class Needy(registry.find("visual_encoder", "tiny").load()):
        needs = frozenset({"landmarks"})

        def forward(self, source, frames, landmarks):
            return super().forward(source, frames)

    model = build_model(TINY)
    model.visual_encoder = Needy(size=32, codes=model.decoder.codes)
    clip = random_clip(32)
    assert model(clip).frames.shape[0] == B
    clip.landmarks = None
    with pytest.raises(BadData, match="carry no landmarks, which Needy needs"):
        model(clip)


def test_skips_of_the_wanted_shape_pass_untouched_and_weightless():
    shapes = (SkipShape(4, 1, 1), SkipShape(2, 8, 8))
    adapter = SkipAdapter(shapes, shapes)
    maps = [torch.randn(3, *shape) for shape in shapes]
    assert not list(adapter.parameters())
    assert all(a is b for a, b in zip(adapter(maps), maps))


def test_other_skips_are_brought_to_the_wanted_shape():
    adapter = SkipAdapter((SkipShape(4, 2, 2), SkipShape(2, 8, 8)), (SkipShape(5, 2, 2), SkipShape(2, 4, 4), SkipShape(3, 16, 16)))
    out = adapter([torch.randn(3, 4, 2, 2), torch.randn(3, 2, 8, 8)])
    assert [tuple(o.shape[1:]) for o in out] == [(5, 2, 2), (2, 4, 4), (3, 16, 16)]
