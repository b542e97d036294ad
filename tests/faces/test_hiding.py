"""What is hidden of a face, and what that tells."""

from __future__ import annotations

import torch

from fctfg.data import make_dataset
from fctfg.faces import hide_mouth
from fctfg.recipe import Recipe


def clip_of(share: float):
    recipe = Recipe.find("tiny").model_copy(update={"size": 64, "hide_mouth": share})
    dataset = make_dataset("synthetic", recipe, "train", (0.0, 0.04))
    return dataset.collate([dataset[i] for i in range(8)])


def test_the_mouth_is_grey_and_the_eyes_are_not():
    clip = clip_of(1.0)
    hidden = hide_mouth(clip.frames, clip.landmarks)
    for points, grey in ((slice(48, 68), True), (slice(36, 48), False)):
        places = ((clip.landmarks[..., points, :].flatten(0, 1) + 1) * 32).long().clamp(0, 63)
        for picture, original, where in zip(hidden.flatten(0, 1), clip.frames.flatten(0, 1), places):
            seen = picture[:, where[:, 1], where[:, 0]]
            assert (seen == 0).all() if grey else torch.equal(seen, original[:, where[:, 1], where[:, 0]])


def test_the_cover_does_not_tell_how_far_the_mouth_is_open():
    clip = clip_of(1.0)
    speaking = clip.landmarks.clone()
    speaking[..., 48:68, 1] += 0.2 * torch.rand(20)  # lips and jaw
    speaking[..., 0:17, 1] += 0.1
    white = torch.ones_like(clip.frames)
    assert torch.equal(hide_mouth(white, clip.landmarks), hide_mouth(white, speaking))


def test_as_many_clips_are_hidden_as_the_recipe_says_and_their_truth_stays():
    assert clip_of(0.0).driving is None
    every = clip_of(1.0)
    assert torch.equal(every.driving, hide_mouth(every.frames, every.landmarks))
    some = clip_of(0.5)
    hidden = [not torch.equal(shown, truth) for shown, truth in zip(some.driving, some.frames)]
    assert 0 < sum(hidden) < 8
    assert torch.equal(some.frames, every.frames)
