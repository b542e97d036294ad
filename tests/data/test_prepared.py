"""Samples from a prepared folder: they show what they say, the same on every draw, and speakers stay apart."""

import pickle

import numpy as np
import pytest
import torch

from fctfg.data import PreparedClips, make_dataset
from fctfg.data.prepared import split_clips
from fctfg.errors import BadData

SIZE = 32  # of conftest's clips

def where(pictures) -> list[tuple[int, int]]:
    """(clip, frame) of pictures (n, 3, H, W) uint8 made by conftest's `flat`."""
    return [(round(float(p[1].float().mean()) / 20), round(float(p[0].float().mean()) / 4)) for p in pictures]


def heard(wave, margin=0):
    """The frame numbers, beginning with 0, whose sound made by `ramp` a sample hears."""
    return sorted({round(abs(float(v)) * 128) - 1 for v in wave[margin:]})


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_sample_shows_and_sounds_the_same_moment(make_folder, make_recipe):
    dataset = PreparedClips(make_folder(), make_recipe(), context=(0.0, 0.04))
    assert dataset.times.tolist() == pytest.approx([0, 0.04, 0.08, 0.12, 0.16]) and dataset.num_wave == 5 * 640
    for index in range(20):
        sample = dataset[index]
        shown, references = where(sample["frames"]), where(sample["source"])
        clip, first = shown[0]
        assert shown == [(clip, first + k) for k in range(5)]
        assert references == [(clip, references[0][1] + k) for k in range(5)] and references[0][1] != first
        assert heard(sample["wave"]) == [first + k for k in range(5)]
        assert heard(sample["other_wave"])[0] != first and len(heard(sample["other_wave"])) == 5
        assert (sample["wave"].sign() == (-1 if clip % 2 else 1)).all()


def test_margins_hear_real_sound_and_silence_beyond_the_ends(make_folder, make_recipe):
    dataset = PreparedClips(make_folder(frames=(7, 7)), make_recipe(), context=(0.08, 0.2))
    assert dataset.times[0].item() == pytest.approx(0.08)
    assert dataset.num_wave == 2 * 640 + 4 * 640 + 5 * 640
    for index in range(12):
        sample = dataset[index]
        first = where(sample["frames"])[0][1]
        per_frame = (sample["wave"].view(-1, 640).abs() * 128).round().int()
        assert (per_frame == per_frame[:, :1]).all()
        assert per_frame[:, 0].tolist() == [f + 1 if 0 <= f < 7 else 0 for f in range(first - 2, first + 9)]


def test_collate_gives_the_clip_of_the_interface(make_folder, make_recipe):
    dataset = PreparedClips(make_folder(), make_recipe(), context=(0.1, 0.3))
    clip = dataset.collate([dataset[0], dataset[1], dataset[2]])
    assert clip.source.shape == clip.frames.shape == (3, 5, 3, SIZE, SIZE) and clip.frames.dtype == torch.float32
    assert clip.wave.shape == clip.other_wave.shape == (3, dataset.num_wave) and clip.times.shape == (5,)
    assert clip.frames.is_contiguous() and clip.frames.min() >= -1 and clip.frames.max() <= 1
    torch.testing.assert_close(clip.frames[1, 2, :, 4, 5], dataset[1]["frames"][2, :, 4, 5].float() / 127.5 - 1)


def test_landmarks_are_normalised_to_the_crop(make_folder, make_recipe):
    sample = PreparedClips(make_folder(), make_recipe(size=64))[3]
    first = where(sample["frames"])[0][1]
    assert sample["frames"].shape == (5, 3, 64, 64)
    assert sample["landmarks"][:, 0].tolist() == [[-1.0, 1.0]] * 5  # left and lower edge, whatever the size drawn
    torch.testing.assert_close(sample["landmarks"][:, 1, 0], (first + torch.arange(5)) * 2 / SIZE - 1)


def test_samples_depend_on_seed_split_and_number_alone(make_folder, make_recipe):
    root, recipe = make_folder(), make_recipe()
    one, two = PreparedClips(root, recipe, seed=3), pickle.loads(pickle.dumps(PreparedClips(root, recipe, seed=3)))
    for index in (5, 0, 10**9):
        assert same(one[index], two[index])
    assert not all(same(one[i], PreparedClips(root, recipe, seed=4)[i]) for i in range(5))
    assert not all(same(one[i], one[i + 1]) for i in range(5))


def test_the_seed_is_the_recipes_unless_given(make_folder, make_recipe):
    root = make_folder()
    assert same(PreparedClips(root, make_recipe(seed=8))[2], PreparedClips(root, make_recipe(), seed=8)[2])


def test_every_window_is_as_likely_as_any_other(make_folder, make_recipe):
    dataset = PreparedClips(make_folder(frames=(14, 34), speakers="aa"), make_recipe(held_out=0))
    draws = [dataset.draw(i) for i in range(4000)]
    counts = np.zeros((2, 30))
    for window in draws:
        counts[window.clip, window.start] += 1
    assert (counts[0, 10:] == 0).all()
    expected = 4000 / 40
    chi_square = ((counts[0, :10] - expected) ** 2).sum() / expected + ((counts[1] - expected) ** 2).sum() / expected
    assert chi_square < 73  # 39 degrees of freedom: one in a thousand is above


def test_stills_keep_their_distance_and_differ(make_folder, make_recipe):
    recipe = make_recipe(references={"count": 3, "draw": "stills", "apart": 6})
    dataset = PreparedClips(make_folder(), recipe)
    seen = set()
    for index in range(200):
        window = dataset.draw(index)
        assert len(set(window.references)) == 3 and min(abs(window.references - window.start)) >= 6
        seen |= set(window.references.tolist())
    assert seen == set(range(30))


def test_the_other_moment_can_be_asked_to_be_far(make_folder, make_recipe):
    dataset = PreparedClips(make_folder(), make_recipe(), least_shift=9)
    shifts = {abs(window.other - window.start) for window in map(dataset.draw, range(300))}
    assert min(shifts) == 9 and max(shifts) == 25
    asked = make_dataset(dataset.root, make_recipe(least_shift=9))
    assert [asked.draw(i).other for i in range(20)] == [dataset.draw(i).other for i in range(20)]
    near = PreparedClips(dataset.root, make_recipe())
    assert min(abs(window.other - window.start) for window in map(near.draw, range(300))) == 1


@pytest.mark.parametrize("references", [
    {"count": 5},
    {"count": 1, "draw": "stills", "apart": 9},
    {"count": 9, "apart": 4},
])
@pytest.mark.parametrize("least_shift", [1, 6])
def test_the_shortest_clip_serves_every_window(make_folder, make_recipe, references, least_shift):
    from fctfg.data.windows import shortest_span
    recipe = make_recipe(references=references, held_out=0)
    shortest = shortest_span(recipe, least_shift)
    dataset = PreparedClips(make_folder(frames=(shortest,)), recipe, least_shift=least_shift)
    starts = {dataset.draw(index).start for index in range(300)}
    assert starts == set(range(shortest - 4))
    with pytest.raises(BadData, match=f"as long as {shortest} frames"):
        PreparedClips(make_folder(frames=(shortest - 1,), name="short"), recipe, least_shift=least_shift)


def test_speakers_stay_apart(make_folder, make_recipe):
    root = make_folder(speakers="aabbcc")
    recipe = make_recipe(held_out=0.3)
    shown = {split: {span.clip // 2 for span in PreparedClips(root, recipe, split).spans}
             for split in ("train", "held-out")}
    assert not shown["train"] & shown["held-out"] and shown["train"] | shown["held-out"] == {0, 1, 2}
    assert len(shown["held-out"]) == 1


@pytest.mark.parametrize("speakers, share, kept_back", [(2, 0.1, 1), (2, 0.9, 1), (30, 0.1, 3), (10, 0.99, 9)])
def test_about_the_share_is_held_out_whatever_the_order(speakers, share, kept_back):
    clips = [(f"S{k}", 50) for k in range(speakers)]
    spans, _ = split_clips(clips, share, "held-out")
    assert len(spans) == kept_back
    backwards, _ = split_clips(clips[::-1], share, "held-out")
    assert {clips[s.clip] for s in spans} == {clips[::-1][s.clip] for s in backwards}


def test_of_one_speaker_the_last_fifth_is_held_out(make_folder, make_recipe):
    root = make_folder(frames=(50, 40), speakers="aa")
    train, held_out = (PreparedClips(root, make_recipe(), split) for split in ("train", "held-out"))
    assert [tuple(s) for s in train.spans] == [(0, 0, 40), (1, 0, 32)]
    assert [tuple(s) for s in held_out.spans] == [(0, 40, 50), (1, 32, 40)]
    assert "last fifth" in held_out.notes[0]
    for index in range(50):
        window = held_out.draw(index)
        first = held_out.spans[window.clip].first
        assert min(window.start, *window.references, window.other) >= first
        assert max(window.start, window.references[0], window.other) + 5 <= held_out.spans[window.clip].last


def test_by_time_the_end_of_every_clip_is_held_out(make_folder, make_recipe):
    root, recipe = make_folder(frames=(50, 40), speakers="ab"), make_recipe(split="time", held_out=0.2)
    train, held_out = (PreparedClips(root, recipe, split) for split in ("train", "held-out"))
    assert [tuple(s) for s in train.spans] == [(0, 0, 40), (1, 0, 32)]
    assert [tuple(s) for s in held_out.spans] == [(0, 40, 50), (1, 32, 40)] and not held_out.notes


def test_nothing_held_out_is_said(make_folder, make_recipe):
    dataset = PreparedClips(make_folder(), make_recipe(held_out=0), "held-out")
    assert len(dataset.spans) == 6 and "held_out is 0" in dataset.notes[0]


def test_short_clips_are_left_out_and_counted(make_folder, make_recipe):
    dataset = PreparedClips(make_folder(frames=(30, 5, 3, 30), speakers="abcd"), make_recipe(held_out=0))
    assert [span.clip for span in dataset.spans] == [0, 3] and "2 of 4" in dataset.notes[0]


def test_a_broken_clip_is_named_and_another_drawn(make_folder, make_recipe):
    root, recipe = make_folder(), make_recipe(held_out=0)
    whole = [PreparedClips(root, recipe)[i] for i in range(20)]
    (root / "clips/2.zip").write_bytes((root / "clips/2.zip").read_bytes()[:1000])
    dataset = PreparedClips(root, recipe)
    for index in range(20):
        sample = dataset[index]
        if where(whole[index]["frames"])[0][0] == 2:
            assert where(sample["frames"])[0][0] != 2
            assert same(sample, PreparedClips(root, recipe)[index])
        else:
            assert same(sample, whole[index])
    assert list(dataset.skipped) == ["clips/2.zip"] and "cut off" in dataset.skipped["clips/2.zip"]


def test_nothing_but_broken_clips_ends_with_a_name(make_folder, make_recipe):
    root = make_folder(frames=(30, 30))
    for path in root.glob("clips/*.zip"):
        path.unlink()
    with pytest.raises(BadData, match=r"20 clips .* cannot be read, clips/\d.zip the last"):
        PreparedClips(root, make_recipe())[0]


def test_a_clip_with_fewer_frames_than_its_manifest_says_is_broken(make_folder, make_recipe):
    root = make_folder(frames=(30, 20))
    (root / "clips/0.zip").write_bytes((root / "clips/1.zip").read_bytes())
    dataset = PreparedClips(root, make_recipe(held_out=0))
    assert all(where(dataset[i]["frames"])[0][0] == 1 for i in range(10))
    assert "20 frames, its manifest says 30" in dataset.skipped["clips/0.zip"]


def test_few_files_stay_open(make_folder, make_recipe, monkeypatch):
    monkeypatch.setattr("fctfg.data.prepared.OPEN_CLIPS", 2)
    dataset = PreparedClips(make_folder(), make_recipe(held_out=0))
    for index in range(12):
        dataset[index]
    assert len(dataset._opened) == 2


def test_another_crop_is_refused_with_what_would_work(make_folder, make_recipe):
    with pytest.raises(BadData, match="prepare it again with --crop face, or train with --set crop=wav2lip"):
        PreparedClips(make_folder(), make_recipe(crop="face"))


def test_no_usable_clip_says_where_the_reasons_are(make_folder, make_recipe):
    root = make_folder(frames=(), dropped=[{"source": "a.mp4", "reason": "no face"}])
    with pytest.raises(BadData, match="kept none and dropped 1; its manifest.json says why"):
        make_dataset(root, make_recipe())


def test_small_clips_are_drawn_up_and_it_is_said(make_folder, make_recipe):
    dataset = make_dataset(make_folder(), make_recipe(size=64))
    assert dataset[0]["source"].shape == (5, 3, 64, 64) and "stored at 32 px" in dataset.notes[-1]


@pytest.fixture
def units():
    """(30, 17): AU01 tells the frame, AU45 is never known, nor is anything of frame 7."""
    every = np.tile(np.float32(0.5), (30, 17))
    every[:, 0], every[:, -1], every[7] = np.arange(30) / 30, np.nan, np.nan
    return every


def test_action_units_come_with_their_frames_and_unknown_ones_are_marked(make_folder, make_recipe, units):
    dataset = PreparedClips(make_folder(frames=(30, 30), action_units={0: units, 1: units}), make_recipe(held_out=0))
    assert not dataset.notes or not any("action units" in note for note in dataset.notes)
    for index in range(30):
        sample = dataset[index]
        shown = [frame for _, frame in where(sample["frames"])]
        known = sample["action_units_known"]
        np.testing.assert_array_equal(known.numpy(), np.isfinite(units[shown]))
        np.testing.assert_array_equal(sample["action_units"].numpy(), np.nan_to_num(units[shown]))
    clip = dataset.collate([dataset[0], dataset[1]])
    assert clip.action_units.shape == clip.action_units_known.shape == (2, 5, 17)
    assert clip.action_units.dtype == torch.float32 and clip.action_units_known.dtype == torch.bool


def test_a_clip_without_action_units_among_others_has_unknown_ones(make_folder, make_recipe, units):
    dataset = PreparedClips(make_folder(frames=(30, 30), action_units={1: units}), make_recipe(held_out=0))
    assert "1 of 2 clips have no action units; theirs are unknown." in dataset.notes
    for sample in (dataset[index] for index in range(12)):
        clip, first = where(sample["frames"])[0]
        assert sample["action_units_known"].any() == (clip == 1) and torch.isfinite(sample["action_units"]).all()


def test_clips_without_any_carry_none(make_folder, make_recipe):
    dataset = PreparedClips(make_folder(), make_recipe())
    assert dataset.collate([dataset[0]]).action_units is None and dataset.collate([dataset[0]]).action_units_known is None
