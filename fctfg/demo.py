"""The first thing a newcomer sees: a portrait that talks, made of nothing but what is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw

from .errors import BadMedia

SPEECH = Path(__file__).with_name("assets") / "speech.wav"
HEAD = (84, 0, 364, 280)
"""Left, top, right, bottom of the part of the portrait that is shown, twice as large."""
MOUTH = (204, 250, 354, 360)
"""Left, top, right, bottom of mouth and chin in that part."""
SHOTS = 8
"""Frames in the preview."""
SIDE = 240
"""Width and height of each, in pixels."""


def demo(out_dir: str | Path, say: Callable[[str], None] = print) -> tuple[Path, Path]:
    """Make the portrait that scikit-image ships say the speech that fctfg ships: `demo.mp4`, and `preview.png` of it.

    The portrait is Eileen Collins by NASA, in the public domain. Recipe `warp` draws; it has no weights.

    Raises:
        BadMedia: `out_dir` cannot be written to.
    """
    from skimage.data import astronaut

    from .generating import generate
    from .media.files import NewFile

    folder = Path(out_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadMedia(f"{folder} cannot be made: {error.strerror}. Name another folder with --out.") from None
    portrait, video, preview = folder / "portrait.png", folder / "demo.mp4", folder / "preview.png"
    with NewFile(portrait) as file:
        head = Image.fromarray(astronaut()).crop(HEAD)
        head.resize((2 * head.width, 2 * head.height), Image.Resampling.LANCZOS).save(file, "PNG")
    generate(str(portrait), str(SPEECH), str(video), recipe="warp", say=lambda line: None)
    with NewFile(preview) as file:
        strip(video).save(file, "PNG")
    say(f"Video:   {video}\nPreview: {preview}")
    return video, preview


def strip(video: Path) -> Image.Image:
    """Frames of `video` in a row, each with its time, and below them their mouths, enlarged."""
    from .media import probe_video, read_video

    info = probe_video(video)
    wanted = {round((i + 0.5) * info.num_frames / SHOTS) for i in range(SHOTS)}
    shots = [(number, frame) for number, frame in enumerate(read_video(video)) if number in wanted]
    close = round(SIDE * (MOUTH[3] - MOUTH[1]) / (MOUTH[2] - MOUTH[0]))
    picture = Image.new("RGB", (SIDE * len(shots), SIDE + close))
    draw = ImageDraw.Draw(picture)
    for column, (number, frame) in enumerate(shots):
        frame, left = Image.fromarray(frame), column * SIDE
        picture.paste(frame.resize((SIDE, SIDE), Image.Resampling.LANCZOS), (left, 0))
        picture.paste(frame.resize((SIDE, close), Image.Resampling.BICUBIC, MOUTH), (left, SIDE))
        time = f"{float(number / info.frame_rate):.2f} s"
        draw.text((left + 6, 4), time, fill="white", stroke_width=2, stroke_fill="black")
    return picture
