"""What works with what: the real table over everything installed, beside plugins that are broken in known ways."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from fctfg import pairs, registry
from fctfg.cli import main
from fctfg.errors import BadRecipe
from fctfg.pairs import BROKEN, REFUSED, UNUSABLE, WORKS, Pairing, Pairs, render

PAGE = Path(__file__).parents[1] / "docs" / "pairs.md"
TINY = registry.find("decoder", "tiny").load()


class BuggyDecoder(TINY):
    def forward(self, latent):
        raise RuntimeError("the sizes do not match\nat all")


class FussyDecoder(TINY):
    test_size = 64

    def __init__(self, *, size):
        if size != 64:
            raise BadRecipe(f"decoder 'fussy' draws 64 px, not {size}.")
        super().__init__(size=size)


class DeafDecoder(TINY):
    """Draws, with no gradient to what it draws from."""

    def forward(self, latent):
        return super().forward(latent).detach() * self.net.bias.sum()


class HuntedEncoder(registry.find("visual_encoder", "tiny").load()):
    test_size = 48

    def __init__(self, *, size, codes):
        if size != 48:
            raise BadRecipe(f"visual encoder 'hunted' reads 48 px, not {size}.")
        super().__init__(size=size, codes=codes)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[Pairing]:
    info = tmp_path_factory.mktemp("site") / "bad-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bad\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[fctfg.decoders]\ngone = no_such_module:X\n")
    with pytest.MonkeyPatch.context() as patch, registry.offering(
            "decoder", buggy=BuggyDecoder, fussy=FussyDecoder, deaf=DeafDecoder), registry.offering(
            "visual_encoder", hunted=HuntedEncoder):
        patch.syspath_prepend(str(info.parent))
        torch.manual_seed(0)
        expected = torch.rand(3)
        torch.manual_seed(0)
        told = []
        found = Pairs(lambda done, total: told.append((done, total))).rows
        assert torch.equal(torch.rand(3), expected)
        assert told[-1][0] == told[-1][1] == len(told)
        return found


def bundled(rows, kind: str) -> set[str]:
    ours = {plugin.name for plugin in registry.plugins(kind) if plugin.package == "fctfg"}
    return {name for row in rows if row.state != UNUSABLE and (name := getattr(row, kind)) in ours}


def cell(rows, decoder: str, visual_encoder: str | None = None, audio_encoder: str | None = None) -> Pairing:
    names = visual_encoder, audio_encoder, decoder
    [row] = [row for row in rows if (row.visual_encoder, row.audio_encoder, row.decoder) == names]
    return row


def test_bundled_encoders_and_decoders_work_together_or_say_why_not(rows):
    for encoder in bundled(rows, "visual_encoder"):
        for decoder in bundled(rows, "decoder"):
            row = cell(rows, decoder, visual_encoder=encoder)
            gives = registry.find("visual_encoder", encoder).load().gives
            needs = registry.find("decoder", decoder).load().needs
            if needs <= gives:
                assert row.state == WORKS or row.state == REFUSED and not needs, row
            else:
                assert row.state == REFUSED and f"needs {' and '.join(sorted(needs - gives))}" in row.reason, row
                assert row.reason.endswith(("do.", "does.")), "the encoders that would do are named"


def test_every_unet_encoder_works_with_every_unet_decoder(rows):
    encoders = {"lipgan", "speech2vid", "warp", "wav2lip"} & bundled(rows, "visual_encoder")
    decoders = {"lipgan", "speech2vid", "warp", "wav2lip"} & bundled(rows, "decoder")
    assert len(encoders) >= 2 and len(decoders) >= 2
    for encoder in encoders:
        for decoder in decoders:
            row = cell(rows, decoder, visual_encoder=encoder)
            assert row.state == WORKS, row


def test_any_audio_encoder_works_with_any_system(rows):
    hearing = bundled(rows, "audio_encoder")
    assert {"tiny", "wav2lip", "loudness"} <= hearing
    for audio_encoder in hearing:
        for decoder in bundled(rows, "decoder"):
            row = cell(rows, decoder, audio_encoder=audio_encoder)
            assert row.state == WORKS, row


def test_a_pair_runs_at_a_size_that_both_take(rows):
    assert cell(rows, "wav2lip", visual_encoder="wav2lip").size == 96
    assert cell(rows, "tiny", visual_encoder="wav2lip").size == 96
    assert cell(rows, "tiny", visual_encoder="tiny").size == 32
    assert cell(rows, "fussy", visual_encoder="tiny").size == 64
    row = cell(rows, "fussy", visual_encoder="hunted")
    assert (row.state, row.size) == (REFUSED, None)
    assert row.reason == "visual encoder 'hunted' reads 48 px, not 64. decoder 'fussy' draws 64 px, not 48."


def test_what_fails_is_told_from_what_is_refused(rows):
    for encoder in ("tiny", "warp"):
        row = cell(rows, "buggy", visual_encoder=encoder)
        assert (row.state, row.reason) == (BROKEN, "RuntimeError: the sizes do not match")
    assert cell(rows, "buggy", audio_encoder="tiny").reason == "no visual encoder works with it"
    row = cell(rows, "deaf", visual_encoder="tiny")
    assert (row.state, row.reason) == (BROKEN, "no gradient of what is drawn reaches the visual encoder")


def test_a_plugin_that_cannot_be_imported_is_a_row_of_its_own(rows):
    row = cell(rows, "gone")
    assert row.state == UNUSABLE and "failed to import: No module named 'no_such_module'" in row.reason


def test_the_tables_line_up_and_give_each_reason_once(rows):
    lines = list(render(rows))
    first = lines[:lines.index("")]
    column = first[0].index("wav2lip")
    named = {line.split()[0]: line for line in first[1:]}
    assert named["wav2lip"][column:column + 2] == "96" and named["tiny"][column] == "-"
    assert named["tiny"][first[0].index("buggy")] == "x"
    reasons = [line for line in lines if " with wav2lip: refused, " in line and "encoder it does not give" in line]
    assert len(reasons) == 1 and "tiny" in reasons[0]
    assert any(line.startswith("gone: unusable, decoder 'gone' of bad 1.0 failed to import") for line in lines)


def cells(lines) -> dict[tuple[str, str, str], str]:
    """(kind of the row, its name, the decoder) -> the cell, of tables in markdown."""
    found, header = {}, []
    for line in lines:
        parts = [part.strip() for part in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            header = []
        elif not header:
            header = parts
        elif not set(parts[0]) <= {"-"}:
            found |= {(header[0], parts[0], decoder): value for decoder, value in zip(header[1:], parts[1:])}
    return found


def test_the_page_is_up_to_date(rows):
    """Write it with: fctfg list-plugins --pairs --markdown > docs/pairs.md"""
    shown, now = cells(PAGE.read_text(encoding="utf-8").splitlines()), cells(render(rows, markdown=True))
    ours = bundled(rows, "visual_encoder") | bundled(rows, "audio_encoder")
    now = {key: value for key, value in now.items() if key[1] in ours and key[2] in bundled(rows, "decoder")}
    assert len(now) > 20
    assert {key: shown.get(key) for key in now} == now


@pytest.mark.parametrize("options, read", [
    (["--json"], lambda output: {row["state"] for row in json.loads(output)} == {WORKS, REFUSED, BROKEN, UNUSABLE}),
    ([], lambda output: "visual encoder" in output.splitlines()[0]),
    (["--markdown"], lambda output: "| visual encoder" in output)])
def test_the_command_fails_where_a_pair_does(rows, monkeypatch, options, read):
    kept = [cell(rows, "tiny", visual_encoder="tiny"), cell(rows, "wav2lip", visual_encoder="tiny"), cell(rows, "gone")]
    broken = cell(rows, "buggy", visual_encoder="tiny")
    monkeypatch.setattr(pairs, "examine", lambda: [*kept, broken])
    done = CliRunner().invoke(main, ["list-plugins", "--pairs", *options])
    assert done.exit_code == 1 and read(done.stdout), done.output
    assert "1 of 4 pairs fail, where they should work or be refused." in done.stderr
    monkeypatch.setattr(pairs, "examine", lambda: kept)
    assert CliRunner().invoke(main, ["list-plugins", "--pairs", *options]).exit_code == 0
    assert "fctfg.pairs" in sys.modules
