"""The canonical-motion fusion against its definition, and what its parts may depend on."""

from __future__ import annotations

import pytest
import torch

from fctfg import registry
from fctfg.errors import BadRecipe
from fctfg.interfaces import CodeShape, FaceCode
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
