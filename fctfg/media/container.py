"""What is in a media file: its streams, its frame rate, how its pictures lie, and when its first one is shown."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from ..errors import BadMedia
from .files import existing_file
from .picture import is_heif, is_picture

STANDARD_RATES = (*map(Fraction, (10, 12, 15, 24, 25, 30, 48, 50, 60, 100, 120, 240)),
                  *(Fraction(thousands * 1000, 1001) for thousands in (24, 30, 60, 120)))

# How many packets are looked at to tell a constant rate from a varying one: four seconds, a few megabytes.
WINDOW = 100

# Formats that claim plain text and binary rubbish by its file name.
NOT_MEDIA = {"tty", "bin", "xbin", "adf", "idf"}

# The display matrix that is stored with a turned picture -> degrees clockwise, and the filters that bring it upright.
TURNS = {
    (1, 0, 0, 1): (0, ""),
    (0, 1, -1, 0): (90, "transpose=clock"),
    (-1, 0, 0, -1): (180, "hflip,vflip"),
    (0, -1, 1, 0): (270, "transpose=cclock"),
    (-1, 0, 0, 1): (0, "hflip"),
    (1, 0, 0, -1): (0, "vflip"),
    (0, 1, 1, 0): (90, "transpose=cclock_flip"),
    (0, -1, -1, 0): (270, "transpose=clock_flip"),
}


@dataclass(frozen=True)
class VideoInfo:
    """What a video is like, as `read_video` yields it."""

    width: int
    height: int
    """Of the upright picture with square pixels."""
    frame_rate: Fraction
    """The file's own: of the regular frames where they are regular, else the average."""
    num_frames: int
    """The best estimate without decoding, at `frame_rate`."""
    duration: float
    """Seconds from the first frame's beginning to the last one's end, as the container says."""
    rotation: int
    """0, 90, 180 or 270: how far, clockwise, the stored picture is turned to stand upright."""
    has_sound: bool
    start: float
    """When the first frame is shown, in seconds of the container's clock. Frames and sound are counted from here."""
    constant_rate: bool
    """Whether frames come at regular times; read off the first few seconds."""
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)
    """The container's tags; `VideoWriter` writes them."""


def open_media(path: str | os.PathLike):
    """The file as a PyAV input container, which is closed by leaving its `with` block.

    Raises:
        BadMedia: it is missing, empty, a HEIC picture, or nothing that FFmpeg knows.
    """
    import av

    path = existing_file(path)
    if is_heif(path):
        raise BadMedia(f"{path} is a HEIC or AVIF picture, not a video or sound; save a picture as JPEG or PNG.")
    try:
        # The prefix keeps odd names from being addresses. From a file, FFmpeg follows no playlist into the network.
        container = av.open(f"file:{path}", metadata_errors="replace")
    except av.FFmpegError:
        raise BadMedia(_not_media(path)) from None
    kind = container.format.name
    if kind in NOT_MEDIA or kind == "image2" or kind.endswith("_pipe"):
        container.close()
        if kind in NOT_MEDIA:
            raise BadMedia(_not_media(path))
        if is_picture(path):
            raise BadMedia(f"{path} is a picture, not a video or sound; a .mp4, .mov, .wav or .mp3 would do.")
        raise BadMedia(f"{path} is a picture, not a video or sound, and damaged or of a rare kind; save it as JPEG.")
    return container


def _not_media(path) -> str:
    with open(path, "rb") as file:
        head = file.read(12)
    if head[4:8] == b"ftyp" or head[:4] == b"\x1aE\xdf\xa3":
        return f"{path} is a video that was cut short or damaged before it could be indexed; copy or download it again."
    return f"{path} is neither a video nor a sound; files such as .mp4, .mov, .webm, .wav and .mp3 are."


def video_stream(container):
    """The stream that a player would show, or None. Cover art of a song is no video."""
    import av

    attached = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if s.codec_context is not None and attached not in s.disposition]
    best = container.streams.best("video")
    return best if best in streams else next(iter(streams), None)


def sound_stream(container):
    """The stream that a player would play with that video, or None."""
    streams = [s for s in container.streams.audio if s.codec_context is not None]
    best = container.streams.best("audio", related=video_stream(container))
    return best if best in streams else next(iter(streams), None)


def probe_video(path: str | os.PathLike) -> VideoInfo:
    """Size, rate and length of a video, with its first frame decoded but not the rest.

    Raises:
        BadMedia: it is missing, empty, damaged, or not a video but a picture, a sound, a text.
    """
    if is_picture(path):
        raise BadMedia(f"{path} is a picture, not a video; a .mp4, .mov or .webm would do.")
    with open_media(path) as container:
        stream = video_stream(container)
        if stream is None:
            what = "sound but no" if container.streams.audio else "no"
            raise BadMedia(f"{path} holds {what} video that can be decoded; a .mp4, .mov or .webm would do.")
        seconds = _stated_seconds(container, stream)
        frame, stamps, packets = _look_at_first(container, stream, count_all=seconds is None)
        if frame is None:
            raise BadMedia(f"No frame of {path} can be decoded; it is damaged, copy or download it again.")
        frame_rate, constant = _own_rate(stream, stamps)
        # A container that states no length was read to its end.
        duration = seconds if seconds is not None else packets / float(frame_rate)
        width, height = square_size(stream, frame)
        rotation, _ = turn(frame)
        return VideoInfo(
            *((height, width) if rotation in (90, 270) else (width, height)), frame_rate,
            num_frames=max(1, round(duration * frame_rate)), duration=duration, rotation=rotation,
            has_sound=sound_stream(container) is not None, start=0.0 if frame.pts is None else frame.time,
            constant_rate=constant, metadata=dict(container.metadata))


def _stated_seconds(container, stream) -> float | None:
    """How long the container says the video lasts."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration:
        begins = stream.start_time * stream.time_base if stream.start_time is not None else 0
        return max(0.0, float((container.duration - (container.start_time or 0)) / 1e6 - begins)) or None
    return None


def _look_at_first(container, stream, count_all: bool):
    """The first frame; when the first packets are shown, in ordered ticks; how many there are, with `count_all`."""
    import av

    frame, stamps, packets = None, [], 0
    try:
        for packet in container.demux(stream):
            packets += bool(packet.size)
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is not None:
                stamps.append(stamp)
            if frame is None:
                try:
                    frame = next(iter(packet.decode()), None)
                except av.FFmpegError:
                    continue
            elif not count_all and packets >= WINDOW:
                break
    except av.FFmpegError:  # the file ends in the middle of something
        pass
    return frame, sorted(stamps), packets


def _own_rate(stream, stamps: list[int]) -> tuple[Fraction, bool]:
    """The frame rate, and whether it is constant.

    The average that containers state is off where the last frame's length is missing or frames were dropped, so regular
    time stamps have the say, and the stated numbers serve to name the same rate exactly.
    """
    # Frames that reordering puts before the last packets read are not there yet.
    steps = np.diff(stamps if len(stamps) < WINDOW else stamps[:WINDOW - 16]) * float(stream.time_base)
    stated = [rate for rate in (stream.average_rate, stream.guessed_rate) if rate]
    steps = steps[steps > 0]
    if len(steps) < 2:
        return _tidy(stated[0] if stated else Fraction(25)), True
    usual = np.median(steps)
    # Time stamps are rounded to ticks; where a tick is as long as a frame, they are exact.
    regular = np.abs(steps - usual) <= min(max(1.01 * float(stream.time_base), 1e-3), usual / 4)
    constant = bool(regular.mean() >= 0.95)
    if constant:
        steps = steps[regular]
    seen = 1 / steps.mean()
    # A rounded stamp at either end makes that much of a difference. Varying frames need not go on as they begin.
    doubt = 1e-3 + min(float(stream.time_base), 1e-3) / steps.sum() if constant else 0.5
    near = [rate for rate in stated if abs(float(rate) / seen - 1) < doubt]
    return _tidy(near[0] if near else Fraction(seen)), constant


def _tidy(rate: Fraction) -> Fraction:
    """The standard rate within 0.1 %, or one of small numbers, so that it survives every container."""
    nearest = min(STANDARD_RATES, key=lambda standard: abs(standard - rate))
    return nearest if abs(nearest / rate - 1) < 1e-3 else Fraction(rate).limit_denominator(1001)


def turn(frame) -> tuple[int, str]:
    """Degrees clockwise that bring a decoded frame upright, and the FFmpeg filters that do it."""
    from av.sidedata.sidedata import SideDataContainer

    # Not frame.side_data: that and the frame hold each other, and megabytes wait for the garbage collector.
    stored = SideDataContainer(frame).get("DISPLAYMATRIX")
    if stored is None:
        return TURNS[1, 0, 0, 1]
    a, b, _, c, d = np.frombuffer(stored, np.int32)[:5] / 65536
    return TURNS.get(tuple(int(round(x)) for x in (a, b, c, d)), TURNS[1, 0, 0, 1])


def square_size(stream, frame) -> tuple[int, int]:
    """Width and height of a decoded frame, before turning, on square pixels: faces must not be squeezed."""
    aspect = stream.sample_aspect_ratio or Fraction(1)
    # Encoders leave a hair's breadth of rounding, and some nonsense.
    stretched = 0.02 < abs(aspect - 1) and Fraction(1, 4) < aspect < 4
    return round(frame.width * aspect) if stretched else frame.width, frame.height


class Clock:
    """Seconds since `start` at which frames or packets begin, mending time stamps that are missing or leap.

    `start` is in seconds of the container's clock, None for the first time stamp. `length` is how long the file claims
    to be: a frame far beyond it, or far before the one that came last, is taken to follow the one that came last, and
    so are those after it.
    """

    def __init__(self, start: float | None, length: float | None):
        self.start = start
        self.length = length
        self.now = 0.0
        """When the next one is due."""
        self._mended = 0.0
        self._begun = False

    def time(self, stamp: float | None, lasts: float) -> float:
        """When the next one begins, which is stamped `stamp` and `lasts` seconds long."""
        time = self.now
        if stamp is not None:
            if self.start is None:
                self.start = stamp - self.now
            time = stamp - self.start + self._mended
            beyond = self.length is not None and time > max(self.length, self.now) + 1
            if self._begun and (beyond or time < self.now - 1):
                self._mended += self.now - time
                time = self.now
        self._begun = True
        self.now = time + lasts
        return time


def decoded(container, stream) -> Iterator:
    """Every frame of a stream that can be decoded, with None in the place of a packet that cannot be."""
    import av

    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except av.FFmpegError:
            yield None
            return
        try:
            yield from packet.decode()
        except av.FFmpegError:
            yield None
