"""Still pictures of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from fctfg.errors import BadMedia
from fctfg.media import is_picture, read_picture

RAMP = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (16, 1))
COLOURS = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 128)], -1)
GREY = RAMP[..., None].repeat(3, 2)


@pytest.mark.parametrize("name, picture, wanted", [
    ("rgb.png", Image.fromarray(COLOURS), COLOURS),
    ("rgb.bmp", Image.fromarray(COLOURS), COLOURS),
    ("grey.png", Image.fromarray(RAMP), GREY),
    ("deep.png", Image.fromarray(RAMP.astype(np.uint16) * 257), GREY),
    ("deep.tif", Image.fromarray(RAMP.astype(np.uint16) * 257), GREY),
    ("bits.png", Image.fromarray(RAMP > 99), np.where(GREY > 99, 255, 0)),
    ("palette.gif", Image.fromarray(RAMP).convert("P"), GREY),
    ("cmyk.tif", Image.fromarray(COLOURS).convert("CMYK"), COLOURS),
    ("alpha.png", Image.fromarray(np.dstack([COLOURS, np.full_like(RAMP, 51)])), COLOURS * 0.2 + 255 * 0.8),
    ("grey-alpha.png", Image.fromarray(np.dstack([RAMP, np.full_like(RAMP, 51)])), GREY * 0.2 + 255 * 0.8),
])
def test_pictures_of_every_kind(tmp_path, name, picture, wanted):
    picture.save(tmp_path / name)
    assert is_picture(tmp_path / name)
    pixels = read_picture(tmp_path / name)
    assert pixels.dtype == np.uint8 and pixels.shape == (16, 64, 3)
    assert np.abs(pixels - wanted).max() <= 1


def test_pictures_follow_their_orientation_tag(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    Image.fromarray(np.rot90(COLOURS)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_picture(tmp_path / "a.png"), COLOURS)


def test_colour_profiles_are_applied(tmp_path):
    from PIL import ImageCms

    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = swapped.replace(b"rXYZ", b"tmp_").replace(b"bXYZ", b"rXYZ").replace(b"tmp_", b"bXYZ")
    Image.fromarray(COLOURS).save(tmp_path / "a.png", icc_profile=swapped)
    assert np.abs(read_picture(tmp_path / "a.png").astype(int) - COLOURS[..., ::-1]).mean() < 2
    Image.fromarray(COLOURS).save(tmp_path / "b.png", icc_profile=b"nonsense")
    assert np.array_equal(read_picture(tmp_path / "b.png"), COLOURS)


def test_a_damaged_picture_is_refused(tmp_path, film):
    Image.effect_noise((200, 200), 90).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[:len(content) // 2])
    with pytest.raises(BadMedia, match="is damaged"):
        read_picture(tmp_path / "a.jpg")
    with pytest.raises(BadMedia, match="is not a picture"):
        read_picture(film(tmp_path / "a.mp4"))
