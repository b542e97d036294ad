"""How a mouth would move to a sound, from its loudness and the shape of its spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fctfg.interfaces import SAMPLE_RATE, AudioEncoder

from .mouth import smoothstep

WINDOW = 512
"""Samples in one look at the spectrum: 32 ms, more than two periods of a low voice."""
HOP = SAMPLE_RATE // 50
"""Samples from one look to the next."""
SMOOTH = 3
"""Looks on either side of a frame that its mouth is averaged over: a jaw does not follow faster than that."""
QUIET = -65.0
"""What stays below is silence, in dB of full scale."""
ABOVE_NOISE = 4.0
"""How far a voice rises from the noise before the mouth opens, in dB."""


class LoudnessAudioEncoder(AudioEncoder):
    """How far the mouth opens, 0 to 1; how wide it is, from -1 for round to 1; and how much the teeth show, 0 to 1.

    The opening follows the loudness from 200 to 3500 Hz between the quietest and the loudest of the seconds around, and
    is larger where the first formant is high ('ah') than where it is low ('ee', 'oo'). The width follows the second
    formant: 'ee' is wide, 'oo' is round. The vowels' formants are those of Peterson and Barney, 1952. Hiss above 4 kHz
    ('s') parts the lips over closed teeth. No weights.
    """

    paper = 'Peterson and Barney, "Control methods used in a study of the vowels", 1952'
    context = (2.0, 1.0)

    def __init__(self, *, lead: float = 0.04):
        """`lead` is how many seconds of sound ahead of a frame's beginning its mouth shape belongs to."""
        super().__init__()
        self.width = 3
        self.lead = lead

    @torch.no_grad()
    def forward(self, wave: Tensor, times: Tensor) -> Tensor:
        starts, middle = self._looks(times)
        # Frames share most of their looks, and each is taken once. A look depends on its own samples alone, so that a
        # stretch of sound gives the same whichever chunk it comes in.
        distinct, places = starts.unique(return_inverse=True)
        heard = _listen(wave.float(), distinct.to(wave.device)).at(places.to(wave.device))
        loud = _loudness(heard)

        # Half of what the recording and the speaker do to the spectrum is taken off.
        open_vowel = smoothstep((heard.first - 0.5 * (_mean(heard.first, loud) + 7) + 16) / 22)
        front_vowel = ((heard.second - 0.5 * (_mean(heard.second, loud) + 4) + 4) / 12).clamp(-1, 1)
        hiss = _hiss(heard)
        opening = loud * (0.3 + 0.7 * open_vowel) * (1 - 0.8 * hiss)
        width = loud.sqrt() * front_vowel * (1 - 0.5 * open_vowel)
        near = slice(middle - SMOOTH, middle + SMOOTH + 1)
        shape = torch.stack([opening, width, hiss], dim=-1)[:, :, near]
        taps = torch.hann_window(2 * SMOOTH + 3, periodic=False, device=wave.device)[1:-1]
        return (shape * (taps / taps.sum())[:, None]).sum(2).to(wave.dtype)

    def _looks(self, times: Tensor) -> tuple[Tensor, int]:
        """The first samples (T, L) of the looks each frame takes over its context, and which of these is its own."""
        before, after = ((seconds * SAMPLE_RATE - WINDOW // 2) // HOP
                         for seconds in (self.context[0] + self.lead, self.context[1] - self.lead))
        # To the nearest sample; what is rounded up in the whole must not be rounded down in a chunk.
        at = ((times.cpu().double() + self.lead) * SAMPLE_RATE + 0.501).floor().long() - WINDOW // 2
        return at[:, None] + HOP * torch.arange(-int(before), int(after) + 1), int(before)


@dataclass
class _Heard:
    """What each look hears. All in dB."""

    voice: Tensor
    """The energy of the speech band, of full scale."""
    top: Tensor
    """The energy above 4 kHz."""
    first: Tensor
    """The energy where the first formant of open vowels lies less that where it lies in close ones."""
    second: Tensor
    """The energy where the second formant of front vowels lies less that where it lies in back ones."""
    tilt: Tensor
    """The energy above 4 kHz less that below."""
    pitch: Tensor
    """1 where the sound repeats itself as a voice does, 0 for noise."""
    sound: Tensor
    """Whether there is any."""

    def at(self, places: Tensor) -> _Heard:
        return _Heard(*(value[:, places] for value in vars(self).values()))


def _listen(wave: Tensor, starts: Tensor) -> _Heard:
    """Look at `wave` (B, S) from each of `starts` (U,) on; beyond its ends is silence."""
    samples = starts[:, None] + torch.arange(WINDOW, device=wave.device)
    there = (samples >= 0) & (samples < wave.shape[1])
    pieces = F.pad(wave, (0, 1))[:, samples.where(there, wave.shape[1])]
    window = torch.hann_window(WINDOW, device=wave.device)
    power = torch.fft.rfft(pieces * window).abs().square() * (2 / (WINDOW * window.square().sum()))
    frequency = torch.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE, device=wave.device)

    def band(low: float, high: float) -> Tensor:
        return 10 * (power[..., (frequency >= low) & (frequency < high)].sum(-1) + 1e-10).log10()

    longest, shortest = SAMPLE_RATE // 80, SAMPLE_RATE // 400
    voice = power * ((frequency >= 200) & (frequency < 3500))
    echo = torch.fft.irfft(voice)[..., :longest]
    taper = torch.fft.irfft(torch.fft.rfft(window, 2 * WINDOW).abs().square())[:longest]
    repeats = (echo / taper)[..., shortest:].amax(-1) / (echo[..., 0] / taper[0]).clamp_min(1e-14)
    return _Heard(voice=band(200, 3500), top=band(4000, 8000), first=band(450, 1000) - band(80, 450),
                  second=band(1600, 3200) - band(600, 1400), tilt=band(4000, 8000) - band(100, 3000),
                  pitch=smoothstep((repeats - 0.5) / 0.3) * (band(200, 3500) > band(0, 8000) - 30),
                  sound=(pieces != 0).any(-1))


def _loudness(heard: _Heard) -> Tensor:
    """0 in pauses, 1 for the loudest of the looks, last axis."""
    loudest, noise = _level(heard, heard.voice, 0.9), _level(heard, heard.voice, 0.2)
    # A held vowel is as steady as noise is, but nearly all of it has a pitch.
    noise = noise - 25 * _level(heard, heard.pitch, 0.2)
    closed = torch.maximum(noise + ABOVE_NOISE, loudest - 28).clamp_min(QUIET)
    widest = torch.maximum(loudest - 3, closed + 8)
    return ((heard.voice - closed) / (widest - closed)).clamp(0, 1).nan_to_num(0)


def _hiss(heard: _Heard) -> Tensor:
    """1 where an 's' is heard."""
    rises = heard.top - (_level(heard, heard.top, 0.2) + ABOVE_NOISE).clamp_min(QUIET)
    return (smoothstep((heard.tilt + 8) / 12) * smoothstep(rises / 10)).nan_to_num(0)


def _level(heard: _Heard, value: Tensor, part: float) -> Tensor:
    """What `part` of the looks stay below, of those from the first sound to the last.

    The silence before a recording begins and after it ends says nothing about its noise.
    """
    begun, to_come = heard.sound.cumsum(-1) > 0, heard.sound.flip(-1).cumsum(-1).flip(-1) > 0
    return value.where(begun & to_come, torch.nan).nanquantile(part, dim=-1, keepdim=True)


def _mean(value: Tensor, weight: Tensor) -> Tensor:
    return (value * weight).sum(-1, keepdim=True) / (weight.sum(-1, keepdim=True) + 1)
