"""Still pictures, through Pillow."""

from __future__ import annotations

import io
import os

import numpy as np

from ..errors import BadMedia
from .files import existing_file

# Named, since among Pillow's other formats some take films, plain text or PostScript programs for pictures.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")

HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif")


def is_picture(path: str | os.PathLike) -> bool:
    """Whether the file holds one still picture, judged by its content. A GIF or PNG that moves is a video."""
    from PIL import UnidentifiedImageError

    try:
        with _open(path) as picture:
            return not (picture.format in ("GIF", "PNG") and getattr(picture, "is_animated", False))
    except (BadMedia, OSError, SyntaxError, UnidentifiedImageError):
        return is_heif(path)


def is_heif(path: str | os.PathLike) -> bool:
    """Whether it is a HEIC or AVIF picture, which look like videos to a video reader."""
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except OSError:
        return False
    return head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS


def read_picture(path: str | os.PathLike) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB, upright, in sRGB; what is transparent is white.

    Raises:
        BadMedia: it is missing, not a picture, or damaged.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with _open(path) as picture:
            picture.load()
            return np.array(_to_rgb(ImageOps.exif_transpose(picture)))
    except UnidentifiedImageError:
        if is_heif(path):
            raise BadMedia(f"{path} is a HEIC or AVIF picture, which cannot be read here; save it as JPEG.") from None
        raise BadMedia(f"{path} is not a picture that can be read; JPEG, PNG, WebP, BMP, GIF and TIFF can.") from None
    except Image.DecompressionBombError:
        raise BadMedia(f"{path} has too many pixels for a picture; make it smaller.") from None
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises all three on damaged files
        if isinstance(error, BadMedia):
            raise
        raise BadMedia(f"{path} is damaged and cannot be read as a picture ({error}); copy or save it again.") from None


def _open(path):
    from PIL import Image

    Image.init()
    return Image.open(existing_file(path), formats=[name for name in FORMATS if name in Image.OPEN])


def _to_rgb(picture):
    """The Pillow image in mode RGB and the sRGB colour space, over white."""
    from PIL import Image

    if picture.mode.startswith("I"):  # 16 bit grey, which Pillow would clip at 255
        grey = np.clip(np.rint(np.asarray(picture, np.float64) / 257), 0, 255)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if "A" in picture.getbands() or "transparency" in picture.info:
        profile = picture.info.get("icc_profile")
        layers = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")
        picture.info["icc_profile"] = profile
    return _to_srgb(picture)


def _to_srgb(picture):
    """Colours as a screen shows them, by the profile in the file where there is one that fits."""
    from PIL import ImageCms

    profile = picture.info.get("icc_profile")
    if profile and picture.mode in ("RGB", "CMYK", "L"):
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):  # a broken profile, or one for another mode
            pass
    return picture.convert("RGB")
