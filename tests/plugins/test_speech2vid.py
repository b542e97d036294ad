"""Speech2Vid against its published sizes and slow loops, in both forms, alone and with the parts of others."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fctfg import audio, registry
from fctfg.errors import BadRecipe
from fctfg.interfaces import CodeShape, SkipShape
from fctfg.model import TalkingFace, build_model
from fctfg.pipeline.draw import Artist, Picture, Place
from fctfg.recipe import PARTS, Recipe
from fctfg.testing import random_clip
from fctfg_plugins.speech2vid.windows import Windows

SMALL = "0.0625"
SIZE = 32


def small(name: str = "speech2vid", size: int = SIZE) -> Recipe:
    recipe = Recipe.find(name).with_setting("size", str(size))
    for part in ("visual_encoder", "audio_encoder", "decoder"):
        recipe = recipe.with_setting(f"{part}.options.scale", SMALL)
    return recipe


@pytest.fixture(scope="module")
def five() -> TalkingFace:
    return build_model(small()).eval()


@pytest.fixture(scope="module")
def classic() -> TalkingFace:
    return build_model(small("speech2vid-classic")).eval()


def cut(clip, first: int, last: int):
    """The frames `first` to `last` of a clip, in the same sound."""
    clip = random_clip(SIZE, clip.frames.shape[1])
    clip.frames, clip.times = clip.frames[:, first:last], clip.times[first:last]
    return clip


class TestSize:
    @pytest.mark.parametrize("frames, stills, published, left_out", [
        (1, 1, 41_714_245, 0),  # you_said_that with one still, its batch norm's statistics counted
        (1, 5, 41_770_693, 0),  # and with five
        (5, 0, 36_795_057, 5 * 512 * 512),  # anime-dub: its thirteenth cepstrum is a row of 5 places more at the end
    ])
    def test_it_is_as_large_as_published(self, frames, stills, published, left_out):
        recipe = Recipe.find("speech2vid").with_setting("visual_encoder.options.stills", str(stills))
        for part in ("visual_encoder", "audio_encoder", "decoder"):
            recipe = recipe.with_setting(f"{part}.options.frames", str(frames))
        with torch.device("meta"):
            model = build_model(recipe)
        count = sum(value.numel() for key, value in model.state_dict().items() if not key.endswith("batches_tracked"))
        assert count == published - left_out

    @pytest.mark.parametrize("kind, given", [("visual_encoder", {"codes": CodeShape(1, 8)}), ("decoder", {})])
    def test_other_sizes_and_no_frames_are_refused_in_a_sentence(self, kind, given):
        with pytest.raises(BadRecipe, match="multiples of 16 px, not at 100; give size: 112"):
            registry.build(kind, "speech2vid", size=100, **given)
        with pytest.raises(BadRecipe, match="0 frames at once; give 5, or 1"):
            registry.build(kind, "speech2vid", size=112, frames=0, **given)


class TestWindows:
    @pytest.mark.parametrize("frames", range(1, 17))
    def test_every_frame_is_drawn_once_in_order_in_a_full_window(self, frames):
        windows = Windows.over(frames, 5)
        shown = windows.shows.tolist()
        assert len(shown) == -(-frames // 5)
        assert all(window == list(range(window[0], window[0] + 5)) for window in shown)
        assert frames < 5 or shown[-1][-1] == frames - 1
        assert [shown[w][place] for w, place in zip(windows.drawn_in, windows.place)] == list(range(frames))
        assert windows.drawn_in.tolist() == sorted(windows.drawn_in.tolist())
        clip = torch.rand(2, frames, 3, 4)
        assert torch.equal(windows.put_together(windows.cut(clip)), clip)

    @pytest.mark.parametrize("frames", [3, 5, 12])
    def test_a_window_takes_the_mean_of_the_frames_it_draws(self, frames):
        windows, each = Windows.over(frames, 5), torch.rand(2, frames, 3)
        for w, mean in enumerate(windows.mean(each).unbind(1)):
            drawn = [t for t in range(frames) if t // 5 == w]
            torch.testing.assert_close(mean, sum(each[:, t] for t in drawn) / len(drawn))
        spread = windows.each_frame(torch.rand(2, len(windows.shows), 3))
        torch.testing.assert_close(windows.each_frame(windows.mean(spread)), spread)


class TestWhatItSees:
    def encoder(self, **options):
        return registry.build("visual_encoder", "speech2vid", size=SIZE, codes=CodeShape(1, 8), scale=1 / 16, **options)

    @pytest.mark.parametrize("references", [1, 2, 7])
    def test_stills_come_first_and_lower_halves_are_black(self, references):
        encoder = self.encoder(stills=2)
        clip = random_clip(SIZE, 7)
        source = torch.rand(2, references, 3, SIZE, SIZE) * 2 - 1
        seen = encoder.see(source, clip.frames, Windows.over(7, 5)).unflatten(2, (7, 3))
        assert seen.shape == (2, 2, 7, 3, SIZE, SIZE)
        for w, first in enumerate([0, 2]):
            for j in range(2):
                torch.testing.assert_close(seen[:, w, j], source[:, (first + j) % references] / 2 + 0.5)
            for f in range(5):
                half = (clip.frames[:, first + f, :, :SIZE // 2] + 1) / 2
                torch.testing.assert_close(seen[:, w, 2 + f, :, :SIZE // 2], half)
        assert not seen[:, :, 2:, :, SIZE // 2:].any()

    def test_the_mouths_to_be_drawn_change_nothing(self, five):
        clip, other = random_clip(SIZE), random_clip(SIZE)
        other.frames[..., SIZE // 2:, :] = 0.3
        with torch.no_grad():
            assert torch.equal(five(clip).frames, five(other).frames)


class TestWhatItHears:
    def test_five_frames_bring_twenty_columns(self, five):
        clip = random_clip(SIZE, 7)
        heard = five.audio_encoder.hear(clip.wave, clip.times, Windows.over(7, 5))
        torch.testing.assert_close(heard, audio.mfcc12_windows(clip.wave, clip.times[[0, 2]], columns=20))

    def test_at_other_rates_each_frame_brings_its_own_four(self, five):
        clip = random_clip(SIZE, 5)
        times = 1 + torch.tensor([0, 1, 2, 8, 9]) / 30  # a face was lost for five frames
        heard = five.audio_encoder.hear(clip.wave, times, Windows.over(5, 5))[:, 0]
        for t in range(5):
            own = audio.mfcc12_windows(clip.wave, times[t:t + 1], columns=4)[:, 0]
            torch.testing.assert_close(heard[..., 4 * t:4 * t + 4], own)

    def test_the_sound_goes_on_where_a_clip_ends_early(self, five):
        clip = random_clip(SIZE, 5)
        heard = five.audio_encoder.hear(clip.wave, clip.times[:2], Windows.over(2, 5))
        torch.testing.assert_close(heard, audio.mfcc12_windows(clip.wave, clip.times[:1], columns=20))

    def test_a_frame_alone_is_in_the_middle_of_35_columns(self, classic):
        clip = random_clip(SIZE, 3)
        heard = classic.audio_encoder.hear(clip.wave, clip.times, Windows.over(3, 1))
        torch.testing.assert_close(heard, audio.mfcc12_windows(clip.wave, clip.times - 0.175, columns=35))


class TestWhatItDraws:
    def test_five_frames_are_drawn_at_once_and_a_clip_of_any_length_window_by_window(self, five):
        clip = random_clip(SIZE, 7)
        clip.source = clip.source[:, :1]
        with torch.no_grad():
            whole = five(clip).frames
            first, last = five(cut(clip, 0, 5)).frames, five(cut(clip, 2, 7)).frames
        assert whole.shape == clip.frames.shape and whole.abs().max() <= 1
        torch.testing.assert_close(whole, torch.cat([first, last[:, 3:]], 1), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(whole[:, 0], whole[:, 1], atol=1e-4)

    def test_the_upper_half_is_left_as_it_is(self, five):
        with torch.no_grad():
            alpha = five(random_clip(SIZE, 2)).alpha
        assert alpha.shape == (2, 2, 1, SIZE, SIZE)
        assert not alpha[..., :SIZE * 48 // 100, :].any() and alpha[..., SIZE * 7 // 10, SIZE // 2].min() == 1

    @pytest.mark.parametrize("frames", [1, 3])
    def test_less_than_five_frames_are_drawn_as_the_first_of_five(self, five, frames):
        """The rest of the window is the last frame, standing still."""
        clip, longer = cut(random_clip(SIZE, 5), 0, frames), random_clip(SIZE, 5)
        longer.frames[:, frames:] = longer.frames[:, frames - 1:frames].clone()
        with torch.no_grad():
            drawn = five(clip).frames
            assert drawn.shape[1] == frames
            torch.testing.assert_close(drawn, five(longer).frames[:, :frames], rtol=1e-4, atol=1e-5)

    def test_the_classic_draws_each_frame_by_itself(self, classic):
        clip = random_clip(SIZE, 3)
        with torch.no_grad():
            alone = torch.cat([classic(cut(clip, t, t + 1)).frames for t in range(3)], 1)
            torch.testing.assert_close(classic(clip).frames, alone, rtol=1e-4, atol=1e-5)

    def test_fusing_is_one_linear_layer_over_face_and_speech(self, classic):
        clip = random_clip(SIZE, 2)
        face, speech = classic.visual_encoder, classic.audio_encoder(clip.wave, clip.times)
        with torch.no_grad():
            pictures = face.see(clip.source, clip.frames, Windows.over(2, 1)).flatten(0, 1)
            both = torch.cat([face.encode(pictures)[0], speech.flatten(0, 1)], 1)
            weight = torch.cat([face.to_codes.weight, classic.fusion.to_codes.weight], 1)
            expected = F.linear(both, weight, classic.fusion.to_codes.bias)
            got = classic.fusion(face(clip.source, clip.frames), speech).codes
        torch.testing.assert_close(got.flatten(0, 1)[:, 0], expected, rtol=1e-4, atol=1e-5)

    def test_generating_loses_no_frame_whatever_the_batch(self, five):
        """Thirteen frames of which one shows no face, in batches of seven: windows of 5 + 2, and of 5."""
        random = np.random.default_rng(0)
        pictures = [Picture(number, np.zeros((8, 8, 3), np.uint8)) for number in range(13)]
        for picture in pictures[:4] + pictures[5:]:
            picture.place = Place(np.array([[8.0, 0, 0], [0, 8, 0]]), np.zeros((68, 2), np.float32))
            picture.crop = random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        wave = random.uniform(-1, 1, 16000).astype(np.float32)
        artist = Artist(five, wave, Fraction(25), torch.device("cpu"), 7, person=pictures[0].crop, own_reference=False)
        done = list(artist.draw(iter(pictures)))
        assert [picture.number for picture in done] == list(range(13))
        assert [picture.number for picture in done if picture.drawn is None] == [4]
        with torch.no_grad():
            lot = five(artist.clip(done[:4] + done[5:7])).frames[0]
        for picture, frame in zip(done[:4] + done[5:7], lot):
            expected = ((frame + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
            assert np.abs(picture.drawn.astype(int) - expected).max() <= 1


class TestTogether:
    @pytest.mark.parametrize("swapped", [
        {"visual_encoder": "wav2lip"}, {"decoder": "wav2lip"}, {"audio_encoder": "wav2lip"},
        {"audio_encoder": "syncnet"}, {"fusion": "speech"},
    ], ids=str)
    def test_it_learns_beside_the_parts_of_others(self, swapped):
        recipe = small(size=96)
        for kind, name in swapped.items():
            recipe = recipe.with_part(kind, name)
            if kind != "fusion":
                recipe = recipe.with_setting(f"{kind}.options.scale", SMALL)
        model, clip = build_model(recipe).train(), random_clip(96, 6)
        drawn = model(clip).frames
        assert drawn.shape == clip.frames.shape
        (drawn - clip.frames).abs().mean().backward()
        silent = {name for name, weight in model.named_parameters() if weight.grad is None}
        # Of a face that its fusion passes over, or its decoder, nothing is asked but its feature maps.
        assert all(name.startswith(("visual_encoder.to_codes", "visual_encoder.to_face")) for name in silent)

    def test_forms_may_differ(self):
        for part in ("visual_encoder", "audio_encoder", "decoder"):
            model = build_model(small().with_setting(f"{part}.options.frames", "1")).eval()
            with torch.no_grad():
                assert model(random_clip(SIZE, 7)).frames.shape == (2, 7, 3, SIZE, SIZE)

    def test_its_maps_fit_a_decoder_that_asks_for_others(self):
        wanted = (SkipShape(5, 2, 2), SkipShape(7, 30, 40))
        encoder = registry.build("visual_encoder", "speech2vid", size=SIZE, codes=CodeShape(3, 4), skips=wanted,
                                 scale=1 / 16)
        clip = random_clip(SIZE, 6)
        with torch.no_grad():
            face = encoder.eval()(clip.source, clip.frames)
        assert [tuple(skip.shape) for skip in face.skips] == [(2, 6, *shape) for shape in wanted]

    @pytest.mark.parametrize("name", ["speech2vid", "speech2vid-classic"])
    def test_it_learns_the_colours_of_a_clip(self, name):
        model, clip = build_model(small(name)).train(), random_clip(SIZE, 5)
        clip.frames = clip.frames[..., :1, :1].expand(-1, -1, -1, SIZE, SIZE)  # of one colour each
        optimizer = torch.optim.Adam([p for kind in PARTS for p in getattr(model, kind).parameters()], lr=5e-3)
        losses = []
        for _ in range(15):
            loss = (model(clip).frames - clip.frames).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        assert losses[-1] < 0.85 * losses[0]
