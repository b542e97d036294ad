"""Every face meets its own moment of the sound, whatever the batch, the frame rate and the memory."""

from __future__ import annotations

import copy
from fractions import Fraction

import numpy as np
import pytest
import torch

from fctfg.errors import FctfgError
from fctfg.interfaces import SAMPLE_RATE, Output
from fctfg.model import build_model
from fctfg.pipeline.draw import Artist, Picture, Place, crop_coordinates
from fctfg.recipe import Recipe

SIZE = 16
NTSC = Fraction(30000, 1001)


@pytest.fixture(scope="module")
def model():
    return build_model(Recipe.find("tiny").with_setting("size", str(SIZE))).eval()


def wave_of(seconds):
    return np.random.default_rng(0).uniform(-1, 1, round(seconds * SAMPLE_RATE)).astype(np.float32)


def pictures_of(count, without_face=(), first=0):
    random = np.random.default_rng(1)
    for number in range(first, first + count):
        picture = Picture(number, np.zeros((8, 8, 3), np.uint8))
        if number not in without_face:
            picture.place = Place(np.array([[8.0, 0, 0], [0, 8, 0]]), np.zeros((68, 2), np.float32))
            picture.crop = random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
        yield picture


def artist_of(model, wave, batch=4, rate=Fraction(25), **more):
    return Artist(model, wave, rate, torch.device("cpu"), batch, **more)


def drawn_by(model, batch, rate, **more):
    return [picture.drawn for picture in artist_of(model, wave_of(1), batch, rate, **more).draw(pictures_of(11))]


@pytest.mark.parametrize("rate", [Fraction(25), NTSC, Fraction(60000, 1001)])
@pytest.mark.parametrize("own_reference", [True, False])
def test_batches_change_nothing(model, rate, own_reference):
    if own_reference:  # the tiny encoder averages its references, so each frame must be its own
        alone = [artist_of(model, wave_of(1), 1, rate).clip([picture]) for picture in pictures_of(11)]
        together = artist_of(model, wave_of(1), 11, rate).clip(list(pictures_of(11)))
        assert torch.equal(torch.cat([clip.source for clip in alone], 1), together.source)
        heard = torch.cat([model.audio_encoder(clip.wave, clip.times) for clip in alone], 1)
        torch.testing.assert_close(heard, model.audio_encoder(together.wave, together.times))
    else:
        one, many = (np.stack(drawn_by(model, batch, rate, own_reference=False)) for batch in (1, 11))
        assert np.abs(one.astype(int) - many).max() <= 1


def test_each_frame_begins_at_its_number_over_the_rate(model):
    wave = wave_of(30)
    faces = list(pictures_of(7, first=800))
    clip = artist_of(model, wave, rate=NTSC).clip(faces)
    assert clip.frames.shape == clip.source.shape == (1, 7, 3, SIZE, SIZE)
    samples = (clip.times.double() * SAMPLE_RATE).round().long()
    for picture, sample in zip(faces, samples):
        absolute = round(picture.number / NTSC * SAMPLE_RATE)
        near = wave[absolute:absolute + 16]
        assert np.array_equal(clip.wave[0, sample:sample + 16].numpy(), near)


def test_the_sound_reaches_as_far_as_the_encoder_hears(model):
    class Encoder(torch.nn.Module):
        context = (0.3, 0.2)

    class Model(torch.nn.Module):
        visual_encoder, decoder = model.visual_encoder, model.decoder
        audio_encoder = Encoder()
        fusion = model.fusion

    wave = wave_of(1)
    clip = artist_of(Model(), wave).clip(list(pictures_of(3)))
    before = round(0.3 * SAMPLE_RATE)
    assert abs(clip.times[0].item() - 0.3) < 1e-4
    silent = int((clip.times[0] * SAMPLE_RATE).round())
    assert before <= silent <= before + 1 and not clip.wave[0, :silent].any()
    assert np.array_equal(clip.wave[0, silent:].numpy(), wave[:clip.wave.shape[1] - silent])
    assert clip.times[-1] + 0.2 <= clip.wave.shape[1] / SAMPLE_RATE
    past_the_end = artist_of(Model(), wave).clip(list(pictures_of(3, first=100)))
    assert past_the_end.wave.shape == clip.wave.shape and not past_the_end.wave.any()


def test_pictures_are_minus_one_to_one(model):
    picture, = pictures_of(1)
    picture.crop[:] = 0
    picture.crop[..., 2] = 255
    clip = artist_of(model, wave_of(1)).clip([picture])
    assert clip.frames[0, 0, :, 0, 0].tolist() == [-1, -1, 1]


def test_the_first_face_or_the_given_person_serves_for_all(model):
    faces = list(pictures_of(6))
    artist = artist_of(model, wave_of(1), own_reference=False)
    first, second = artist.clip(faces[:3]), artist.clip(faces[3:])
    assert torch.equal(first.source, first.frames[:, :1]) and torch.equal(second.source, first.source)
    person = np.full((SIZE, SIZE, 3), 255, np.uint8)
    given = artist_of(model, wave_of(1), person=person, own_reference=False).clip(faces)
    assert given.source.shape == (1, 1, 3, SIZE, SIZE) and (given.source == 1).all()


def test_landmarks_are_minus_one_to_one_of_the_crop(model):
    matrix = np.array([[40.0, 0, 100], [0, 20, 50]])
    corners = np.zeros((68, 2), np.float32)
    corners[:3] = [[100, 50], [140, 70], [120, 60]]
    assert np.allclose(crop_coordinates(Place(matrix, corners))[:3], [[-1, -1], [1, 1], [0, 0]])
    turned = np.array([[0.0, -40, 100], [20, 0, 50]])
    corners[0] = [60, 70]
    assert np.allclose(crop_coordinates(Place(turned, corners))[0], [1, 1])


def test_a_frame_without_a_face_passes_in_its_place(model):
    artist = artist_of(model, wave_of(1), batch=4)
    result = list(artist.draw(pictures_of(10, without_face={0, 3, 4, 5, 6, 7})))
    assert [picture.number for picture in result] == list(range(10))
    assert [picture.number for picture in result if picture.drawn is not None] == [1, 2, 8, 9]
    assert result[1].drawn.shape == (SIZE, SIZE, 3) and result[1].drawn.dtype == np.uint8


class Small:
    """A model whose device holds few frames."""

    def __init__(self, model, holds, error):
        self.model, self.holds, self.error, self.tried = model, holds, error, []
        self.visual_encoder, self.audio_encoder = model.visual_encoder, model.audio_encoder
        self.fusion, self.decoder = model.fusion, model.decoder

    def __call__(self, clip):
        self.tried.append(clip.frames.shape[1])
        if clip.frames.shape[1] > self.holds:
            raise self.error
        return self.model(clip)


@pytest.mark.gpu
def test_a_gpu_draws_the_same(model):
    expected = np.stack(drawn_by(model, 4, NTSC, own_reference=False)).astype(int)
    artist = Artist(copy.deepcopy(model).cuda(), wave_of(1), NTSC, torch.device("cuda"), 4, own_reference=False)
    drawn = np.stack([picture.drawn for picture in artist.draw(pictures_of(11))])
    assert np.abs(drawn - expected).max() <= 1


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("CUDA out of memory."), MemoryError(),
                                   RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_too_little_memory_halves_the_batch_and_goes_on(model, error):
    small = Small(model, 2, error)
    artist = artist_of(small, wave_of(1), batch=8)
    result = list(artist.draw(pictures_of(11)))
    assert all(picture.drawn is not None for picture in result) and len(result) == 11
    assert small.tried == [8, 4, 2, 2, 2, 2, 2, 1]
    assert len(artist.notes) == 2 and "went on with 2" in artist.notes[-1]


def test_too_little_memory_for_one_frame_says_so(model):
    with pytest.raises(FctfgError, match="single frame"):
        list(artist_of(Small(model, 0, MemoryError()), wave_of(1)).draw(pictures_of(2)))


def test_other_errors_keep_their_traceback(model):
    with pytest.raises(RuntimeError, match="shapes"):
        list(artist_of(Small(model, 0, RuntimeError("shapes differ")), wave_of(1)).draw(pictures_of(2)))


def test_alpha_and_overshoot(model):
    class Loud(Small):
        def __call__(self, clip):
            return Output(torch.full_like(clip.frames, 3.0), alpha=torch.full_like(clip.frames[:, :, :1], 0.25))

    picture, = artist_of(Loud(model, 1, None), wave_of(1)).draw(pictures_of(1))
    assert (picture.drawn == 255).all() and (picture.alpha == 0.25).all() and picture.alpha.shape == (SIZE, SIZE)


@pytest.mark.parametrize(("batch", "reach"), [(4, 0), (4, 1), (4, 3), (2, 3), (11, 1)])
def test_a_model_that_looks_around_sees_the_neighbours_across_batches(model, batch, reach):
    class Around(torch.nn.Module):
        """Draws each frame as the mean of its neighbours' numbers, the last one going on beyond the ends."""

        visual_encoder, audio_encoder, decoder = model.visual_encoder, model.audio_encoder, model.decoder
        fusion = torch.nn.Identity()
        fusion.reach = reach

        def forward(self, clip):
            value = clip.frames[..., :1, :1]
            padded = torch.cat([value[:, :1]] * reach + [value] + [value[:, -1:]] * reach, 1)
            mean = padded.unfold(1, 2 * reach + 1, 1).mean(-1)
            return Output(mean.expand_as(clip.frames))

    drawn = [[picture.drawn[0, 0] for picture in artist_of(Around(), wave_of(1), size).draw(pictures_of(11))] for size in (batch, 50)]
    assert len(drawn[0]) == 11 and np.array_equal(*drawn)
