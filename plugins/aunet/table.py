"""How well each action unit is heard of held-out people: `python -m fctfg_plugins.aunet.table RUN DATA`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fctfg.action_units import NAMES
from fctfg.data import make_dataset
from fctfg.errors import BadRun
from fctfg.runs import load_model

from .listen import correlation

AT_ONCE = 4
SECOND = 25  # frames


class Heard(NamedTuple):
    """One action unit over the held-out clips."""

    name: str
    frames: int
    """Of which it is known."""
    mse: float
    """The mean squared error in [0, 1]."""
    mse_of_mean: float
    """The same of guessing the mean that it has in the training clips; what is heard should be below."""
    correlation: float | None
    """Pearson's; None for one that does not vary."""
    within: float | None
    """The same of what comes and goes within a second: less the mean of each, which tells people apart, not sounds."""


@torch.no_grad()
def held_out_table(run: str | Path, data: str | Path, windows: int = 100) -> list[Heard]:
    """The action units that are known of the held-out clips of `data`, as the model of `run` hears them in `windows` of
    these, a second each.

    Raises:
        BadRun: it is no run, or has no loss `action-units`, which knows the means of the training clips.
        BadData: there are no such clips.
    """
    from safetensors.torch import load_file

    model, recipe = load_model(run)
    name = next((name for name, part in recipe.losses.items() if part.name == "action-units"), None)
    losses = load_file(Path(run, "losses.safetensors")) if name else {}
    if f"{name}.mean" not in losses:
        raise BadRun(f"{run} has no loss 'action-units', whose means what is heard is held against; a run of recipe "
                     "'ietafs' has.")
    dataset = make_dataset(data, recipe.with_setting("clip_frames", str(SECOND)), "held-out", model.audio_encoder.context)
    heard, true, known = [], [], []
    for first in range(0, windows, AT_ONCE):
        clip = dataset.collate([dataset[i] for i in range(first, min(first + AT_ONCE, windows))])
        speech = model.audio_encoder(clip.wave, clip.times)
        heard.append(getattr(model.fusion, "heard", lambda speech: speech)(speech).flatten(0, 1))
        true.append(clip.action_units.flatten(0, 1))
        known.append(clip.action_units_known.flatten(0, 1))
    heard, true, known = map(torch.cat, (heard, true, known))
    varying, correlations = correlation(heard, true, known)
    varying_within, within = correlation(_less_means(heard, known), _less_means(true, known), known)
    rows = []
    for i, action_unit in enumerate(NAMES):
        if count := int(known[:, i].sum()):
            seen = true[known[:, i], i]
            rows.append(Heard(action_unit, count, float((heard[known[:, i], i] - seen).square().mean()),
                              float((losses[f"{name}.mean"][i] - seen).square().mean()),
                              float(correlations[i]) if varying[i] else None,
                              float(within[i]) if varying_within[i] else None))
    return rows


def _less_means(values: Tensor, known: Tensor) -> Tensor:
    """`values` (M, 17) less the mean of what is `known` in the same second."""
    values, known = values.unflatten(0, (-1, SECOND)), known.unflatten(0, (-1, SECOND))
    means = torch.where(known, values, 0).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp(min=1)
    return (values - means).flatten(0, 1)


def main() -> None:
    """Print the table of a run on a prepared folder, or on `synthetic`."""
    print(f"{'unit':6}{'frames':>8}{'MSE':>9}{'of mean':>9}{'Pearson':>9}{'within':>9}")
    for row in held_out_table(*sys.argv[1:3]):
        pearson, within = ("-" if value is None else f"{value:.3f}" for value in (row.correlation, row.within))
        print(f"{row.name:6}{row.frames:8}{row.mse:9.4f}{row.mse_of_mean:9.4f}{pearson:>9}{within:>9}")


if __name__ == "__main__":
    main()
