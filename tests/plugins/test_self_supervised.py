"""HuBERT and wav2vec 2.0 against transformers' own forward pass, one window at a time. Skipped without transformers."""

from __future__ import annotations

import json
import socket
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from fctfg import registry
from fctfg.errors import BadOption, BadWeights
from fctfg.interfaces import SAMPLE_RATE
from fctfg.recipe import Recipe

transformers = pytest.importorskip("transformers", reason="pip install 'fctfg[speech]' brings transformers")

MODELS = {"hubert": ("HubertConfig", "HubertModel"), "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2Model")}
SMALL = registry.find("audio_encoder", "hubert").load().test_options["config"]
CONTEXT = (0.3, 0.3)


def save(folder, name: str, **config):
    torch.manual_seed(0)
    configuration, network = (getattr(transformers, cls) for cls in MODELS[name])
    made = network(configuration(**SMALL, **config)).eval()
    made.save_pretrained(folder)
    return made


@pytest.fixture(autouse=True)
def nothing_is_fetched(monkeypatch):
    def refuse(*_):
        raise AssertionError("it went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def build(name: str, folder, **options):
    return registry.build("audio_encoder", name, weights=str(folder), context=CONTEXT, width=8, **options)


def slowly(network, wave, time: float) -> torch.Tensor:
    """Each hidden state (layers, hidden) around `time` in `wave` (S,): one window, one feature after the other."""
    first = round((time - CONTEXT[0]) * SAMPLE_RATE)
    window = torch.tensor([float(wave[i]) if 0 <= i < len(wave) else 0.0 for i in range(first, first + 9600)])
    window = (window - window.mean()) / (window.var(correction=0) + 1e-7).sqrt()
    states = torch.stack(network(window[None], output_hidden_states=True).hidden_states)[:, 0]
    counted = []
    for i in range(states.shape[1]):  # features of 25 ms, one every 20 ms
        distance = abs((20 * i + 12.5) / 1000 - CONTEXT[0] - 0.02)
        counted.append(max(0.0, 1 - distance / 0.04))
    return sum(weight * states[:, i] for i, weight in enumerate(counted)) / sum(counted)


@pytest.mark.parametrize("name, config", [
    ("hubert", {}), ("wav2vec2", {}), ("wav2vec2", {"do_stable_layer_norm": True, "feat_extract_norm": "layer"})])
@torch.no_grad()
def test_speech_is_what_transformers_makes_of_each_window(tmp_path, name, config):
    network = save(tmp_path, name, **config)
    wave = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(1))
    times = torch.tensor([0.0, 0.4, 0.41667, 0.9])  # at any rate, and at the ends
    encoder = build(name, tmp_path).eval()
    expected = torch.stack([torch.stack([slowly(network, one, float(t)) for t in times]) for one in wave])
    heard = encoder.hear(encoder.windows(wave, times).flatten(0, 1)).unflatten(0, (2, 4))
    torch.testing.assert_close(heard, expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(encoder(wave, times), encoder.project(expected.mean(2)), rtol=1e-3, atol=1e-4)
    for layer in (1, 2):
        alone = build(name, tmp_path, layers=layer).eval()
        heard = alone.hear(alone.windows(wave, times).flatten(0, 1)).unflatten(0, (2, 4))
        torch.testing.assert_close(heard[:, :, 0], expected[:, :, layer], rtol=1e-3, atol=1e-4)
        assert len(alone.network.encoder.layers) == layer


def test_only_the_projection_learns_unless_told_otherwise(tmp_path):
    save(tmp_path, "hubert")
    wave, times = torch.randn(1, 16_000), torch.tensor([0.4, 0.44])
    for tune in (False, True):
        encoder = build("hubert", tmp_path, tune=tune)
        encoder.requires_grad_(False)
        encoder.requires_grad_(True).train()
        assert encoder.network.training == tune
        encoder(wave, times).square().sum().backward()
        learns = {name for name, p in encoder.named_parameters() if p.requires_grad}
        assert learns == {name for name, p in encoder.named_parameters() if p.grad is not None}
        assert {name.partition(".")[0] for name in learns} == {"mixture", "project", *(["network"] if tune else [])}


def test_an_unnormalised_network_hears_the_sound_as_it_is(tmp_path):
    save(tmp_path, "wav2vec2")
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"do_normalize": False}))
    assert not build("wav2vec2", tmp_path).normalises


def test_a_kept_folder_is_heard_through_without_being_named(tmp_path, monkeypatch):
    monkeypatch.setenv("FCTFG_WEIGHTS", str(tmp_path))
    save(tmp_path / "hubert-base-ls960", "hubert")
    given = build("hubert", tmp_path / "hubert-base-ls960").network.state_dict()
    for options in ({}, {"weights": "hubert-base-ls960"}):
        found = registry.build("audio_encoder", "hubert", **options).network.state_dict()
        assert all(torch.equal(found[key], value) for key, value in given.items())


def test_a_folder_that_will_not_do_is_named_in_a_line(tmp_path):
    def problem(name="hubert", folder=tmp_path / "model") -> str:
        with pytest.raises(BadWeights) as caught:
            build(name, folder)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "nowhere does not exist. Fetch a hubert model" in problem(folder=tmp_path / "nowhere")
    assert "it has no config.json" in problem(folder=tmp_path)
    save(tmp_path / "model", "hubert")
    assert "holds a 'hubert' model, not 'wav2vec2'; --audio-encoder hubert reads it." in problem("wav2vec2")
    weights = tmp_path / "model" / "model.safetensors"
    tensors = load_file(weights)
    kept = {name: tensor for name, tensor in tensors.items() if "layers.1." not in name}
    save_file(kept, weights, {"format": "pt"})
    assert f"lacks {len(tensors) - len(kept)} tensors of the network its config.json describes" in problem()
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "cannot be read as a hubert model" in problem()
    weights.unlink()
    assert "has a config.json and no weights beside it" in problem()
    with pytest.raises(BadOption, match="wants the folder of a pretrained network.*--set audio_encoder.options.weights=FOLDER"):
        registry.build("audio_encoder", "hubert")
    with pytest.raises(BadOption, match="layers 0 is none of its own; say all, or 1 to 2"):
        registry.build("audio_encoder", "hubert", config=SMALL, layers=0)
    with pytest.raises(BadOption, match="shorter than the 0.025 s that one feature hears"):
        registry.build("audio_encoder", "hubert", config=SMALL, context=(0.01, 0.0))


def test_it_trains_with_any_system_and_its_run_generates(tmp_path):
    from fctfg.runs import Run, load_model
    from fctfg.trainer import train

    save(tmp_path / "model", "wav2vec2")
    recipe = Recipe.find("tiny").with_part("audio_encoder", "wav2vec2")
    recipe = recipe.with_setting("audio_encoder.options", json.dumps(
        {"weights": str(tmp_path / "model"), "context": CONTEXT, "width": 8}))
    recipe = recipe.with_setting("stages.colour.steps", "2").with_setting("stages.adversary.steps", "1")
    assert train(recipe, "synthetic", out=tmp_path / "run", workers=0, device="cpu", say=lambda _: None) == 0
    model, _ = load_model(Run(tmp_path / "run").path)
    trained, fresh = model.audio_encoder.state_dict(), build("wav2vec2", tmp_path / "model").state_dict()
    for name in fresh:
        assert torch.equal(trained[name], fresh[name]) == name.startswith("network."), name


def test_without_transformers_it_is_listed_with_what_brings_it():
    code = ("import sys; sys.modules['transformers'] = None\n"
            "import importlib.util as u; found = u.find_spec\n"
            "u.find_spec = lambda name, *a: None if name == 'transformers' else found(name, *a)\n"
            "from fctfg import registry\n"
            "print(registry.find('audio_encoder', 'hubert').state())")
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    assert "failed to import: No module named 'transformers'; pip install 'fctfg[speech]' brings it" in said
