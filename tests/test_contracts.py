"""Every installed plugin keeps its kind's contract, third-party ones included."""

from __future__ import annotations

import pytest

from fctfg import registry, testing
from fctfg.errors import MissingExtra
from fctfg.recipe import Recipe


def every(kind: str):
    return pytest.mark.parametrize("plugin", [f"{p.package}:{p.name}" for p in registry.plugins(kind)])


class _Parametrized:
    @pytest.fixture(autouse=True)
    def _plugin(self, plugin, request):
        if isinstance(problem := registry.find(request.cls.kind, plugin).problem(), MissingExtra):
            pytest.skip(str(problem))
        self.plugin = plugin


@every("visual_encoder")
class TestVisualEncoders(_Parametrized, testing.VisualEncoderContract):
    pass


@every("audio_encoder")
class TestAudioEncoders(_Parametrized, testing.AudioEncoderContract):
    pass


@every("fusion")
class TestFusions(_Parametrized, testing.FusionContract):
    pass


@every("decoder")
class TestDecoders(_Parametrized, testing.DecoderContract):
    pass


@every("loss")
class TestLosses(_Parametrized, testing.LossContract):
    pass


@every("metric")
class TestMetrics(_Parametrized, testing.MetricContract):
    pass


@every("recipe")
def test_recipes_load_and_name_installed_plugins(plugin):
    recipe = Recipe.find(plugin)
    for kind in ("visual_encoder", "audio_encoder", "fusion", "decoder"):
        registry.find(kind, getattr(recipe, kind).name)
    for part in recipe.losses.values():
        registry.find("loss", part.name)
    for stage in recipe.stages:
        registry.find("task", stage.task.name)
    assert recipe.description


class ListEncoder(registry.find("visual_encoder", "fctfg:tiny").load()):
    """The bug of a published implementation: layers in a plain list."""

    def __init__(self, *, size, codes):
        super().__init__(size=size, codes=codes)
        self.nets = [self.net]
        del self.net

    def _codes(self, pictures):
        return self.nets[0](pictures.mean((-1, -2))).unflatten(-1, self.codes)


def test_the_contract_catches_layers_kept_in_a_list():
    with registry.offering("visual_encoder", listed=ListEncoder):
        contract = testing.VisualEncoderContract()
        contract.plugin = "listed"
        with pytest.raises(AssertionError):
            contract.test_state_dict_carries_every_weight()
