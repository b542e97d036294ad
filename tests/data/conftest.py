"""A prepared folder small enough for a unit test, whose every pixel and sample says where it comes from."""

import numpy as np
import pytest

from fctfg.data.clipfile import write_clip
from fctfg.data.manifest import write_manifest
from fctfg.recipe import Recipe

SIZE = 32


def flat(clip: int, index: int, size: int = SIZE) -> np.ndarray:
    """Frame `index` of `clip`: red tells the frame, green the clip; flat colours pass JPEG almost unchanged."""
    return np.broadcast_to(np.array([4 * index, 20 * clip, 128], np.uint8), (size, size, 3)).copy()


def ramp(clip: int, frames: int) -> np.ndarray:
    """Sound whose every sample of a frame has the value (frame + 1) / 128, negative for odd clips."""
    return np.repeat(np.arange(1, frames + 1), 640) / 128 * (-1 if clip % 2 else 1)


@pytest.fixture
def make_recipe():
    def make(**changes):
        content = {"name": "test", "visual_encoder": "a", "audio_encoder": "b", "fusion": "c", "decoder": "d",
                   "size": SIZE, "crop": "wav2lip", "clip_frames": 5, "references": {"count": 5}, **changes}
        return Recipe.from_dict(content)
    return make


@pytest.fixture
def make_folder(tmp_path):
    def make(frames=(30,) * 6, speakers=None, name="prepared", action_units=None, **changes):
        root = tmp_path / name
        clips = []
        for clip, count in enumerate(frames):
            landmarks = np.zeros((count, 68, 2))
            landmarks[:, 0], landmarks[:, 1] = [0, SIZE], np.stack([np.arange(count)] * 2, -1)
            file = f"clips/{clip}.zip"
            pictures = (flat(clip, index) for index in range(count))
            units = (action_units or {}).get(clip)
            write_clip(root / file, pictures, ramp(clip, count), landmarks, np.zeros((count, 4)), {}, units)
            clips.append({"action_units": units is not None, "name": f"clip{clip}", "file": file, "speaker": (speakers or "abcdefghij")[clip],
                          "source": "v.mp4", "start": 0, "frames": count, "seconds": count / 25})
        write_manifest(root, {"crop": "wav2lip", "size": SIZE, "clips": clips, **changes})
        return root
    return make
