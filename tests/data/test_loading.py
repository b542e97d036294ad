"""Batches: the same samples for any number of workers, from any sample on, shared out over processes."""

import logging
import pickle
import subprocess
import sys
from itertools import islice

import pytest
import torch

from fctfg.data import PreparedClips, clip_loader
from fctfg.data.loading import _Batches, _Numbers, sensible_workers
from fctfg.errors import BadData


def equal(a, b):
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("source", "frames", "wave", "other_wave",
                                                                             "landmarks", "times"))


@pytest.fixture
def dataset(make_folder, make_recipe):
    return PreparedClips(make_folder(), make_recipe(held_out=0))


def test_a_batch_is_its_samples(dataset):
    clip = next(clip_loader(dataset, 3, first=7, workers=0))
    assert equal(clip, dataset.collate([dataset[7], dataset[8], dataset[9]]))


def test_starting_later_goes_on_with_the_same_batches(dataset):
    from_start = list(islice(clip_loader(dataset, 2, workers=0), 5))
    later = list(islice(clip_loader(dataset, 2, first=6, workers=0), 2))
    assert equal(from_start[3], later[0]) and equal(from_start[4], later[1])


def test_processes_share_the_samples_out(dataset):
    one = next(clip_loader(dataset, 6, workers=0))
    three = [next(clip_loader(dataset, 2, workers=0, rank=rank, processes=3)) for rank in range(3)]
    for rank, clip in enumerate(three):
        assert torch.equal(clip.frames, one.frames[rank::3])


def test_every_sample_comes_once():
    numbers = [n for rank in range(3) for batch in _Numbers(2, 10, rank, 3, batches=4) for n in batch]
    assert sorted(numbers) == list(range(10, 10 + 24))


def test_it_ends_after_as_many_batches_as_asked(dataset):
    assert len(list(clip_loader(dataset, 2, workers=0, batches=3))) == 3


def test_it_goes_on_beyond_one_round(dataset):
    assert len(list(islice(clip_loader(dataset, 4, first=len(dataset) - 2, workers=0), 3))) == 3


def test_workers_give_the_same_batches_and_report_broken_clips(dataset, caplog):
    (dataset.root / "clips/1.zip").write_bytes(b"PK")
    alone = list(clip_loader(dataset, 2, workers=0, batches=6))
    dataset.skipped.clear()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        endless = clip_loader(dataset, 2, workers=2)
        together = list(islice(endless, 6))
        endless.close()
    assert all(equal(a, b) for a, b in zip(alone, together))
    assert list(dataset.skipped) == ["clips/1.zip"]
    assert sum("1.zip is no clip" in record.message for record in caplog.records) == 1


def test_a_failure_comes_back_as_it_is(dataset):
    """Across processes it travels as a value: raised over there, it would bring a traceback in its message."""
    for path in dataset.root.glob("clips/*.zip"):
        path.unlink()
    assert isinstance(pickle.loads(pickle.dumps(_Batches(dataset)[[0, 1]]))[2], BadData)
    with pytest.raises(BadData, match="cannot be read") as caught:
        next(clip_loader(dataset, 2, workers=0))
    assert "\n" not in str(caught.value)


def test_a_fresh_process_loads_on_when_its_group_is_told_to_end_and_then_ends(dataset, tmp_path):
    """The trainer saves first, and may need a batch for that. No media or detector package is there by then."""
    script = tmp_path / "script.py"
    script.write_text(f"""
import multiprocessing, os, pickle, signal, sys, threading, time
from fctfg.data import clip_loader

def tell():
    while not multiprocessing.active_children():  # a worker that is still starting is told too
        time.sleep(0.001)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.killpg(0, number) if hasattr(os, "killpg") else None

if __name__ == "__main__":
    batches = clip_loader(pickle.loads({pickle.dumps(dataset)!r}), 2, workers=1)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    threading.Thread(target=tell).start()
    next(batches)
    tell()
    for _ in range(5):
        next(batches)
    print("more batches came", {{"av", "dlib", "librosa", "skimage", "torchvision"}} & set(sys.modules) or "")
""")
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, start_new_session=True)
    assert ended.returncode == 0 and ended.stdout == "more batches came \n", ended.stderr


def test_workers_leave_a_core_to_training():
    assert 0 <= sensible_workers() <= 8 and sensible_workers(10**6) == 0


@pytest.mark.gpu
def test_pictures_become_numbers_on_the_device(dataset):
    on_gpu = next(clip_loader(dataset, 3, workers=0, device="cuda"))
    assert on_gpu.frames.is_cuda and on_gpu.times.is_cuda
    torch.testing.assert_close(on_gpu.frames.cpu(), next(clip_loader(dataset, 3, workers=0)).frames)
