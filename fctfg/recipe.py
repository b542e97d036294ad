"""A recipe says everything needed to repeat a run; it is saved in the run folder before the first step.

Imports neither torch nor any plugin.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from . import registry
from .errors import BadRecipe, FctfgError

PARTS = ("visual_encoder", "audio_encoder", "fusion", "decoder")
"""The components that a stage may train, in the order of their flow."""


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Takes 1e-3 for a number, as YAML 1.2 and everybody does; to YAML 1.1 it is a word."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
                              list("-+.0123456789"))


def read_yaml(text: str) -> Any:
    """The plain values in a YAML text."""
    return yaml.load(text, _Loader)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


class Part(_Strict):
    """A plugin by name, with the options its constructor takes. `psp` is short for `{name: psp}`."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value):
        return {"name": value} if isinstance(value, str) else value


class Condition(_Strict):
    """A comparison of a reported scalar with a number, as in `eval/sync < 0.75`."""

    scalar: str
    sign: Literal["<", ">"]
    threshold: float

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value):
        if not isinstance(value, str):
            return value
        match = re.fullmatch(r"\s*([\w/.-]+)\s*([<>])\s*([-+.\deE]+)\s*", value)
        if not match:
            raise ValueError(f"'{value}' is not a condition; write one like 'eval/sync < 0.75'")
        return dict(zip(("scalar", "sign", "threshold"), match.groups()))

    def holds(self, scalars: dict[str, float]) -> bool:
        """Whether the latest `scalars` meet it; a scalar that was never reported does not."""
        value = scalars.get(self.scalar)
        if value is None:
            return False
        return value < self.threshold if self.sign == "<" else value > self.threshold

    def __str__(self) -> str:
        return f"{self.scalar} {self.sign} {self.threshold:g}"


class Weight(_Strict):
    """How much a loss counts: `0.03`, or `{weight: 0.03, once: eval/sync < 0.75}` to count from then on.

    Weight 0 reports the loss without training on it.
    """

    weight: float
    once: Condition | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value):
        return {"weight": value} if isinstance(value, (int, float)) else value


class Stage(_Strict):
    """A stretch of training with one objective: what papers call a phase."""

    name: str
    steps: int = Field(gt=0)
    """The most optimizer steps it takes."""
    task: Part = Part(name="talk")
    train: tuple[str, ...] = ()
    """The parts that learn; the others are frozen and in eval mode."""
    critics: tuple[str, ...] = ()
    """The losses that train themselves."""
    losses: dict[str, Weight] = Field(default_factory=dict)
    until: Condition | None = None
    """Ends the stage early, looked at after each evaluation."""
    batch: int | None = Field(None, gt=0)
    """Clips a step on each process; the recipe's `batch` where absent."""
    clip_frames: int | None = Field(None, gt=0)
    """Frames a clip; the recipe's `clip_frames` where absent."""
    lr: float = Field(1e-4, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    critic_steps: int = Field(1, gt=0)
    """Steps of the critics to one of the parts, each on clips of its own. `steps` counts those of the critics."""
    decay_from: float | None = Field(None, ge=0, lt=1)
    """The share of its steps after which the learning rates of the parts and critics fall linearly to 0."""
    ema: float = Field(0.0, ge=0, lt=1)
    """Decay of the moving average of the weights that is evaluated and exported; 0 for none."""
    clip_norm: float | None = Field(None, gt=0)
    """The largest gradient norm; None for no clipping."""


class References(_Strict):
    """Which pictures of the person go with a training clip, and which with a generated one."""

    count: int = Field(1, gt=0)
    draw: Literal["window", "stills"] = "window"
    """`window`: consecutive frames from elsewhere in the video, as many as `count`; `stills`: any frames."""
    apart: int = Field(0, ge=0)
    """The fewest frames between a still and the clip's first frame."""
    generate: Literal["same", "first"] = "same"
    """When generating: each frame is its own reference, or the first drawable frame serves for all."""


class PublicFile(_Strict):
    """A public weight file that this recipe's model can be filled from."""

    files: tuple[str, ...]
    """The names it is known by."""
    fills: dict[str, str]
    """Key prefix in the file -> key prefix in the model (`decoder.`) or the losses (`losses.sync.`)."""
    translate: str | None = Field(None, pattern=r"^[\w.]+:[\w.]+$")
    """`package.module:function`, where the file's own names and shapes are not the model's: `function(PublicWeights)`
    gives its tensors under the names that `fills` speaks of, and the settings it implies by dotted key (`size`,
    `visual_encoder.name`, `decoder.options.channel_multiplier`). It gives `({}, {})` for a file of another kind."""
    licence: str
    source: str


class Recipe(_Strict):
    """Four parts, the losses, and the stages that train them."""

    name: str
    description: str = ""
    paper: str = ""
    visual_encoder: Part
    audio_encoder: Part
    fusion: Part
    decoder: Part
    losses: dict[str, Part] = Field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    size: int = Field(256, gt=0)
    """Height and width of the pictures the model reads and draws."""
    crop: str = "face"
    """The crop profile of faces.py that prepare, train and generate share."""
    redraws: Literal["face", "crop"] = "face"
    """What is the model's in a crop: the face, to be blended into the frame; or all of it, background too, so that a
    picture that a driving video moves is shown as the crop itself."""
    clip_frames: int = Field(5, gt=0)
    references: References = References()
    hide_mouth: float = Field(0.0, ge=0, le=1)
    """The share of training clips whose driving frames hide the mouth, so that sound alone moves it. Above 0, generating
    hides it too, unless the sound is the driving video's own."""
    held_out: float = Field(0.1, ge=0, lt=1)
    """The share of speakers kept for evaluation; at least one where there are two. Or of every clip: see `split`."""
    split: Literal["speaker", "time"] = "speaker"
    """`speaker`: whoever is kept for evaluation is never trained on; `time`: the end of every clip is kept."""
    least_shift: int = Field(1, gt=0)
    """The fewest frames between a clip and the moment whose sound is shown to critics as out of step with it."""
    batch: int = Field(4, gt=0)
    accumulate: int = Field(1, gt=0)
    """Batches whose gradients are summed before the parts step."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    seed: int = 0
    evaluate_every: int = Field(1000, gt=0)
    evaluate_batches: int = Field(16, gt=0)
    save_every: int = Field(1000, gt=0)
    keep: int = Field(3, gt=0)
    """How many checkpoints stay on disk."""
    patience: int = Field(50, gt=0)
    """Steps in a row with a loss that is not finite before the run stops."""
    public_files: tuple[PublicFile, ...] = ()
    provenance: dict[str, str] = Field(default_factory=dict)
    """Where a value comes from that the paper leaves unsaid, by dotted key."""

    @field_validator("losses", mode="before")
    @classmethod
    def _losses_by_their_own_name(cls, value):
        return {name: part or name for name, part in (value or {}).items()} if isinstance(value, dict) or not value else value

    @model_validator(mode="after")
    def _stages_name_what_exists(self):
        for stage in self.stages:
            for names, known, what in (
                (stage.losses, self.losses, "weighs losses"),
                (stage.critics, self.losses, "trains critics"),
                (stage.train, PARTS, "trains parts"),
            ):
                if unknown := sorted(set(names) - set(known)):
                    raise ValueError(f"stage '{stage.name}' {what} {unknown}; the recipe has {sorted(known)}")
            if not (stage.train or stage.critics):
                raise ValueError(f"stage '{stage.name}' trains nothing; name parts in `train` or losses in `critics`")
            if stage.critic_steps > 1 and not (stage.train and stage.critics):
                raise ValueError(f"stage '{stage.name}' has critic_steps {stage.critic_steps}, which takes parts and critics "
                                 "that train; leave it out")
            if stage.train and not any(weight.weight for weight in stage.losses.values()):
                raise ValueError(f"stage '{stage.name}' trains {list(stage.train)} with no loss of weight above 0")
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            raise ValueError(f"two stages have the same name: {names}")
        return self

    @classmethod
    def from_dict(cls, content: Any, where: str = "recipe") -> Recipe:
        """Read plain values, as found in a YAML file.

        Raises:
            BadRecipe: one line with the first thing that is wrong, and the nearest known key for an unknown one.
        """
        if not isinstance(content, dict):
            raise BadRecipe(f"{where} is not a recipe: expected keys such as visual_encoder, decoder and stages.")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise BadRecipe(f"{where}: {_first_problem(cls, error)}") from None

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a YAML file."""
        try:
            content = read_yaml(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise BadRecipe(f"{path} cannot be read: {error.strerror}.") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise BadRecipe(f"{path} is not YAML: {str(error).splitlines()[0]}.") from None
        return cls.from_dict(content, str(path))

    @classmethod
    def find(cls, name: str | Path) -> Recipe:
        """The recipe of an installed plugin, or of a file that ends in .yaml."""
        if str(name).endswith((".yaml", ".yml")):
            return cls.load(name)
        return cls.load(registry.find("recipe", str(name)).path())

    @classmethod
    def suiting(cls, parts: dict[str, str], default: str) -> Recipe:
        """The installed recipe that has the most of `parts`, plugin names by kind; `default` where none has any.

        Of several with as many the first by name.
        """
        best, most = None, 0
        for recipe in cls.installed():
            shared = sum(getattr(recipe, kind).name == name for kind, name in parts.items())
            if shared > most:
                best, most = recipe, shared
        return best or cls.find(default)

    @classmethod
    def installed(cls) -> list[Recipe]:
        """Those of all installed plugins, by name. One that cannot be read is passed over."""
        found = []
        for plugin in registry.plugins("recipe"):
            try:
                found.append(cls.load(plugin.path()))
            except FctfgError:
                continue
        return found

    def to_dict(self) -> dict:
        """Plain values that `from_dict` reads back to an equal recipe."""
        return self.model_dump(mode="json")

    def dump(self) -> str:
        """YAML text."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False, allow_unicode=True, width=120)

    def with_part(self, kind: str, name: str) -> Recipe:
        """Swap one part. Its options go with it: they belonged to the old one."""
        if name == getattr(self, kind).name:
            return self
        return self.model_copy(update={kind: Part(name=name)})

    def with_loss(self, name: str, weight: float) -> Recipe:
        """Give a loss this weight in every stage that trains parts; a new one is taken by its plugin name."""
        content = self.to_dict()
        content["losses"].setdefault(name, {"name": name})
        for stage in content["stages"]:
            if stage["train"]:
                stage["losses"][name] = {"weight": weight}
        return Recipe.from_dict(content)

    def with_setting(self, key: str, text: str) -> Recipe:
        """Replace the value at a dotted key, `stages.0.lr` or `stages.expert.steps`; `text` is read as YAML.

        Raises:
            BadRecipe: no such key; the message has the nearest one.
        """
        content = self.to_dict()
        *path, last = key.split(".")
        place = content
        for step in path:
            place = place[_index(place, step, key)]
        open_ended = bool(path) and path[-1] in ("options", "losses", "provenance")
        place[_index(place, last, key, may_add=open_ended)] = read_yaml(text)
        return Recipe.from_dict(content, f"--set {key}={text}")


def _index(place, step: str, key: str, may_add: bool = False):
    """The key or list index that `step` means in `place`; stages go by number or name."""
    if isinstance(place, list):
        names = [item.get("name") if isinstance(item, dict) else None for item in place]
        if step in names:
            return names.index(step)
        if step.isdigit() and int(step) < len(place):
            return int(step)
        raise BadRecipe(f"--set {key}: no '{step}'; there are {', '.join(str(n) for n in names)}.")
    if isinstance(place, dict) and (step in place or may_add):
        return step
    known = sorted(place) if isinstance(place, dict) else []
    raise BadRecipe(f"--set {key}: no key '{step}'.{registry.suggest(step, known)} "
                    f"There are: {', '.join(map(str, known)) or 'none below this one'}.")


def _first_problem(model: type[BaseModel], error: ValidationError) -> str:
    problem = error.errors()[0]
    where = ".".join(str(step) for step in problem["loc"])
    if problem["type"] == "extra_forbidden":
        siblings = _fields_at(model, problem["loc"][:-1])
        return f"unknown key '{where}'.{registry.suggest(str(problem['loc'][-1]), siblings)} Known: {', '.join(siblings)}."
    if problem["type"] == "missing":
        return f"the key '{where}' is missing."
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}." if where else f"{message}."


def _fields_at(model: type[BaseModel], location: tuple) -> list[str]:
    """The field names of the model nested at `location`."""
    for step in location:
        if not isinstance(step, str) or step not in model.model_fields:
            continue
        annotation = str(model.model_fields[step].annotation)
        inner = next((m for m in (Stage, PublicFile, References, Weight, Condition, Part) if m.__name__ in annotation), None)
        if inner:
            model = inner
    return list(model.model_fields)
