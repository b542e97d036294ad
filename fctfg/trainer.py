"""The training loop: a recipe's stages in order, each starting from the last one's weights."""

from __future__ import annotations

import copy
import math
import os
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast_object_list, gather_object
from torch import Tensor, nn

from . import registry
from .data import ClipWindows, clip_loader, make_dataset
from .errors import BadData, BadRun, BadWeights, FctfgError, TrainingFailed
from .interfaces import Clip, Critic, Output, Task
from .model import TalkingFace, build_model, check_pair
from .recipe import PARTS, Recipe, Stage
from .reporting import Reporter
from .runs import Run, tensors_of

PRECISIONS = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
REPORT_EVERY = 10  # steps; reading a scalar back makes the GPU wait


def train(recipe: Recipe, data: str | Path, *, run: Run | None = None, out: str | Path | None = None,
          start_from: Sequence[str | Path] = (), device: str = "auto", workers: int | None = None,
          say: Callable[[str], None] = print) -> int:
    """Train `recipe` on `data` into a new run, or go on with `run`; the exit code, 128 + the signal that stopped it.

    What cannot work is refused before a run folder is made.
    """
    check_pair(recipe)
    for stage in recipe.stages:
        registry.build("task", stage.task.name, **stage.task.options)
    losses = build_losses(recipe)
    model = build_model(recipe)
    make_dataset(data, recipe)
    started = [start(model, losses, recipe, path) for path in start_from]
    accelerator = accelerator_for(recipe.precision, device)
    resume = run is not None
    folder = [None]
    if accelerator.is_main_process:
        if resume:
            run.write_recipe(recipe)
        else:
            run = Run.create(recipe, out)
        folder = [str(run.path)]
    run = Run(broadcast_object_list(folder)[0])
    trainer = Trainer(recipe, run, data, accelerator, model, losses, workers=workers, resume=resume, say=say)
    for line in started:
        trainer.say(line)
    trainer.say(f"{'Going on with' if resume else 'Training'} {recipe.name} on {accelerator.device}, "
                f"{accelerator.num_processes} process{'es' * (accelerator.num_processes > 1)}; run {run.path}")
    if trainer.stage_index == len(recipe.stages):
        trainer.say("It has been through every stage; train on in a new run with "
                    f"--start-from {shlex.quote(str(run.path))}.")
    try:
        trainer.fit()
    except FctfgError:
        if not resume and trainer.step <= 1 and accelerator.is_main_process:  # what cannot begin leaves no folder
            shutil.rmtree(run.path, ignore_errors=True)
        raise
    except Stopped as stopped:
        trainer.say(f"Stopped and saved at step {trainer.step}. Go on with: "
                    f"fctfg train --resume {shlex.quote(str(run.path))} --data {shlex.quote(str(data))}")
        return 128 + stopped.signal_number
    finally:
        accelerator.end_training()
    trainer.say(f"Done at step {trainer.step}: {run.path}. Next: fctfg generate --run {shlex.quote(str(run.path))} --face FACE --audio SOUND")
    return 0


def build_losses(recipe: Recipe) -> nn.ModuleDict:
    """Every loss of the recipe by its name there, with nothing that asks for gradients until a critic trains."""
    torch.manual_seed(recipe.seed)
    losses = nn.ModuleDict()
    for name, part in recipe.losses.items():
        wanted = registry.find("loss", part.name).load().built_with
        losses[name] = registry.build("loss", part.name, **{key: getattr(recipe, key) for key in sorted(wanted)}, **part.options)
    return losses.requires_grad_(False)


def start(model: nn.Module, losses: nn.Module, recipe: Recipe, path: str | Path) -> str:
    """Fill what `path`, a run folder, a public weight file or a folder of them, holds; a sentence that says what that was.

    From a run, every part and critic of the same shape is taken, so a stage or a loss may differ.
    """
    if not Path(path).is_dir():
        from .checkpoints import fill

        return fill(model, losses, recipe, path)
    if not (Path(path) / "recipe.yaml").exists() and any(Path(path).glob("*.ckpt")):
        from .checkpoints.sets import fill_from_set

        return "\n".join(fill_from_set(model, losses, recipe, path))
    from safetensors.torch import load_file

    run = Run.open(path)
    filled = []
    for module, name in ((model, "model"), (losses, "losses")):
        file = run.path / f"{name}.safetensors"
        theirs = load_file(file) if file.is_file() else {}
        for child, part in module.named_children():
            weights = {key.removeprefix(f"{child}."): value for key, value in theirs.items() if key.startswith(f"{child}.")}
            own = tensors_of(part)
            if weights and {k: v.shape for k, v in weights.items()} == {k: v.shape for k, v in own.items()}:
                part.load_state_dict(weights, strict=False)  # not strict: the optimizer of a critic starts afresh
                filled.append(child)
    if not filled:
        raise BadWeights(f"{run.path} holds no part that fits recipe '{recipe.name}': its own recipe is '{run.recipe.name}'.")
    return f"Started {', '.join(filled)} from {run.path}."


class Stopped(Exception):
    """The user or the system asked the run to stop; everything is saved."""

    def __init__(self, signal_number: int):
        super().__init__(signal_number)
        self.signal_number = signal_number


class StageModel(nn.Module):
    """A task over the model: what is wrapped for many processes, so that gradients meet whatever parts it runs."""

    def __init__(self, model: TalkingFace, task: Task):
        super().__init__()
        self.model = model
        self.task = task

    def forward(self, clip: Clip) -> Output:
        return self.task(self.model, clip)


class Trainer:
    """Trains `recipe` on `data` (a prepared folder, or "synthetic") into `run`.

    Args:
        accelerator: where and in which precision; see `accelerator_for`.
        model, losses: as `build_model` and `build_losses` give them, or filled from weights.
        workers: loader processes; None for a sensible number.
        resume: go on from the run's newest checkpoint.
        say: receives lines for the user.
    """

    def __init__(self, recipe: Recipe, run: Run, data: str | Path, accelerator: Accelerator, model: TalkingFace,
                 losses: nn.ModuleDict, *, workers: int | None = None, resume: bool = False,
                 say: Callable[[str], None] = print):
        self.recipe, self.run, self.data, self.workers = recipe, run, data, workers
        self.say = say if accelerator.is_main_process else _silence
        self.accelerator = accelerator
        self.device = self.accelerator.device
        self.model, self.losses = model.to(self.device), losses.to(self.device)
        if self.device.type == "cuda":  # elsewhere the layout stays, and with it the order of sums
            lay_out_channels_last(self.model)
            lay_out_channels_last(self.losses)
        contexts = [self.model.audio_encoder.context, *(loss.context for loss in self.losses.values())]
        self.context = max(c[0] for c in contexts), max(c[1] for c in contexts)
        self.ema: TalkingFace | None = None
        self.step = self.stage_step = self.position = self.skipped = self.skipped_in_a_row = 0
        self.stage_index = 0
        self.switched: list[str] = []
        self.scalars: dict[str, float] = {}
        self._signal = 0
        self._saved: dict | None = None
        if resume:
            self._load()
        torch.manual_seed(recipe.seed + self.accelerator.process_index)
        self.reporter = Reporter(run, recipe, self.accelerator, self.say, self.step)

    def fit(self) -> dict[str, float]:
        """Train through every stage that is left; the last scalars.

        Raises:
            Stopped: SIGINT or SIGTERM came; the state is saved.
            TrainingFailed: the loss was not finite for `patience` steps in a row.
        """
        try:
            with self._watching_signals():
                for index in range(self.stage_index, len(self.recipe.stages)):
                    self._run_stage(index)
        finally:
            self.reporter.close()
        return self.scalars

    def _run_stage(self, index: int) -> None:
        stage = self.recipe.stages[index]
        if index != self.stage_index or not self.stage_step:
            self.stage_index, self.stage_step, self.scalars = index, 0, {}
        task = registry.build("task", stage.task.name, **stage.task.options)
        if lacking := task.needs - self.model.visual_encoder.gives:
            self.say(f"{stage.name} is passed over: visual encoder '{self.recipe.visual_encoder.name}' gives no "
                     f"{' and no '.join(sorted(lacking))}, which it is about.")
            self.stage_index = index + 1
            return
        for part in PARTS:
            getattr(self.model, part).requires_grad_(part in stage.train)
        learning = [p for p in self.model.parameters() if p.requires_grad]
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False) if stage.ema else None
        fused = {"fused": True} if self.device.type == "cuda" else {}
        optimizer = torch.optim.Adam(learning, lr=stage.lr, betas=stage.betas, **fused) if learning else None
        stage_model = self._wrap(StageModel(self.model, task), learning)
        if optimizer:
            optimizer = self.accelerator.prepare(optimizer)
        self._restore(optimizer)

        batches = self._batches(stage)
        self.reporter.begin(stage, self.stage_step)
        while self.stage_step < stage.steps and not (stage.until and stage.until.holds(self.scalars)):
            self.step += 1
            self.stage_step += 1
            self._set_rates(stage, optimizer, decay(stage, self.stage_step))
            report = self.train_step(stage, stage_model, islice(batches, self.recipe.accumulate), optimizer)
            self._after_step(stage, optimizer, report)
        if self.stage_step < stage.steps:
            self.say(f"{stage.name} ends at step {self.step}: {stage.until} holds.")
        self._set_rates(stage, None, 1.0)
        self.accelerator.free_memory()
        # The moving average is what was evaluated and shown; the next stage starts from it.
        if self.ema is not None:
            self.model.load_state_dict(self.ema.state_dict())
        self.stage_index, self.stage_step = index + 1, 0
        self._save(None)

    def _set_rates(self, stage: Stage, optimizer, factor: float) -> None:
        """Bring the learning rates of the parts' `optimizer` and of the critics to `factor` of what they began with."""
        if stage.decay_from is None:
            return
        for each in filter(None, (optimizer, *(self.losses[name].optimizer for name in stage.critics))):
            for group in each.param_groups:
                group["lr"] = factor * group.setdefault("initial_lr", group["lr"])

    def train_step(self, stage: Stage, stage_model: nn.Module, clips: Iterator[Clip], optimizer) -> dict[str, Tensor]:
        """One step: critics first, on what the model draws now; then the parts; then their moving average."""
        self.model.eval()
        for part in stage.train:
            getattr(self.model, part).train()
        report: dict[str, Tensor] = {}
        finite = True
        if self.stage_step % stage.critic_steps:
            optimizer = None  # a step of the critics alone
        for clip in clips:
            with _explaining_batch_norm(), nullcontext() if optimizer else torch.no_grad():
                outputs = several(stage_model(clip))
            with self.accelerator.autocast() if self.recipe.precision == "bf16" else nullcontext():
                for name in stage.critics:
                    scalars = self.losses[name].train_critic(outputs[-1].detach(), clip)
                    report.update({f"{name}/{key}": value for key, value in scalars.items()})
                if optimizer or self._report_is_due(stage):
                    total = sum(self._weigh(stage, output, clip, report) for output in outputs) / len(outputs)
                    if total.requires_grad:
                        report["total"] = total
            if not optimizer:
                finite &= all(math.isfinite(report[f"{name}/critic"]) for name in stage.critics)
                continue
            finite &= self._everywhere(bool(torch.isfinite(total.detach())))
            if finite:
                self.accelerator.backward(total / self.recipe.accumulate)
        if optimizer:
            if finite:
                if stage.clip_norm:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), stage.clip_norm)
                optimizer.step()
                if self.ema is not None:
                    update_ema(self.ema, self.model, stage.ema)
            optimizer.zero_grad(set_to_none=True)
        self._count_skipped(finite)
        return report

    def _weigh(self, stage: Stage, output: Output, clip: Clip, report: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the stage's losses on `output`. Those of weight 0 are looked at when a report is due."""
        total = torch.zeros((), device=self.device)
        for name in stage.losses:
            weight = self._weight(stage, name)
            if weight:  # not `0 * loss`: a NaN that is only reported must not reach the gradient
                report[name] = self.losses[name](output, clip)
                total = total + weight * report[name]
            elif self._report_is_due(stage):
                with torch.no_grad():
                    report[name] = self.losses[name](output, clip)
        return total

    def _weight(self, stage: Stage, name: str) -> float:
        weight = stage.losses[name]
        return 0.0 if weight.once and f"{stage.name}/{name}" not in self.switched else weight.weight

    def _after_step(self, stage: Stage, optimizer, report: dict[str, Tensor]) -> None:
        samples = (stage.batch or self.recipe.batch) * self.recipe.accumulate * self.accelerator.num_processes
        self.position += samples
        last = self.stage_step == stage.steps
        if self._report_is_due(stage):
            self.reporter.step(self.step, {name: float(value.detach()) for name, value in report.items()})
        self.reporter.advance(self.stage_step, samples)
        if self.stage_step % self.recipe.evaluate_every == 0 or last:
            self._evaluate(stage)
        stop = self._agreed_signal()
        if self.stage_step % self.recipe.save_every == 0 or stop:
            self._save(optimizer)
        if stop:
            raise Stopped(stop)

    def _report_is_due(self, stage: Stage) -> bool:
        return self.step % REPORT_EVERY == 0 or self.stage_step in (1, stage.steps)

    @torch.no_grad()
    def _evaluate(self, stage: Stage) -> None:
        """Every loss of the stage on the held-out clips, without learning; then what depends on the outcome."""
        model = (self.ema or self.model).eval()
        task = registry.build("task", stage.task.name, **stage.task.options)
        sums: dict[str, Tensor] = {}
        count = 0
        state = torch.get_rng_state()  # what evaluation draws must not change what training draws
        for clip in self._held_out(stage):
            with self.accelerator.autocast():
                output = several(task(model, clip))[-1]
                report = {f"eval/{name}": self.losses[name](output, clip) for name in stage.losses}
                for name in {*stage.losses, *stage.critics}:
                    loss = self.losses[name]
                    scalars = loss.measure(output, clip)
                    if name in stage.critics:
                        scalars["critic"] = critic_loss_without_learning(loss, output.detach(), clip)
                    report.update({f"eval/{name}/{key}": value for key, value in scalars.items()})
            if count == 0 and output.frames is not clip.frames:
                self.reporter.strip(self.step, clip, output)
            for name, value in report.items():
                sums[name] = sums.get(name, 0) + value.float()
            count += 1
        torch.set_rng_state(state)
        if not count:
            return
        means = {name: float(self.accelerator.reduce(value / count, "mean")) for name, value in sorted(sums.items())}
        self.scalars.update(means)
        self.reporter.evaluation(self.step, means)
        for name, weight in stage.losses.items():
            key = f"{stage.name}/{name}"
            if weight.once and key not in self.switched and weight.once.holds(self.scalars):
                self.switched.append(key)
                self.say(f"{stage.name}: {weight.once} holds at step {self.step}; {name} counts {weight.weight:g} from now on.")
        for name in {*stage.losses, *stage.critics}:
            if self.accelerator.is_main_process and (advice := self.losses[name].advice()):
                self.say(advice)

    def _batches(self, stage: Stage) -> Iterator[Clip]:
        dataset = make_dataset(self.data, _of_stage(self.recipe, stage), "train", self.context)
        if not self.stage_step:
            for note in dataset.notes:
                self.say(note)
        return self._load_clips(dataset, stage, first=self.position, workers=self.workers)

    def _held_out(self, stage: Stage) -> Iterator[Clip]:
        """The same clips each time."""
        dataset = make_dataset(self.data, _of_stage(self.recipe, stage), "held-out", self.context)
        return self._load_clips(dataset, stage, workers=0, batches=self.recipe.evaluate_batches)

    def _load_clips(self, dataset: ClipWindows, stage: Stage, **options) -> Iterator[Clip]:
        return clip_loader(dataset, stage.batch or self.recipe.batch, rank=self.accelerator.process_index,
                           processes=self.accelerator.num_processes, device=self.device, **options)

    def _wrap(self, stage_model: StageModel, learning: list) -> nn.Module:
        """For many processes and mixed precision. Where nothing learns there are no gradients to bring together."""
        return self.accelerator.prepare_model(stage_model, evaluation_mode=not learning)

    def _everywhere(self, holds: bool) -> bool:
        if self.accelerator.num_processes == 1:
            return holds
        return bool(self.accelerator.reduce(torch.tensor(float(holds), device=self.device), "mean") == 1)

    def _count_skipped(self, finite: bool) -> None:
        if finite:
            self.skipped_in_a_row = 0
            return
        self.skipped += 1
        self.skipped_in_a_row += 1
        self.reporter.skipped(self.step, self.skipped)
        if self.skipped_in_a_row >= self.recipe.patience:
            raise TrainingFailed(
                f"The loss was not finite for {self.skipped_in_a_row} steps in a row, up to step {self.step}. The last checkpoint "
                f"is in {self.run.checkpoints}. Try a lower lr (--set stages.{self.stage_index}.lr=...), clip_norm=1, "
                f"{'precision=fp32, ' if self.recipe.precision != 'fp32' else ''}or look for broken clips.")

    # Saving, resuming, stopping

    def _save(self, optimizer) -> None:
        random = gather_object([self._random_state()])
        if not self.accelerator.is_main_process:
            return
        self.run.save_checkpoint({
            "format": 1,
            "step": self.step,
            "stage": self.stage_index,
            "stage_step": self.stage_step,
            "position": self.position,
            "skipped": self.skipped,
            "switched": list(self.switched),
            "scalars": dict(self.scalars),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
            "losses": self.losses.state_dict(),
            "optimizer": optimizer.state_dict() if optimizer else None,
            "random": random,
        }, self.recipe.keep)
        self.run.export(self.ema or self.model, self.losses, self.step)

    def _random_state(self) -> dict[str, Tensor]:
        state = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            state["cuda"] = torch.cuda.get_rng_state(self.device)
        return state

    def _load(self) -> None:
        saved = self.run.load_checkpoint()
        if saved is None:
            return
        try:
            self.model.load_state_dict(saved["model"])
            self.losses.load_state_dict(saved["losses"])
        except RuntimeError as error:
            raise BadRun(f"{self.run.path}: its checkpoint does not fit its recipe.yaml, which was changed by hand, or the "
                         f"plugins it names have changed: {str(error).splitlines()[-1].strip()}") from None
        self.step, self.stage_index, self.stage_step = saved["step"], saved["stage"], saved["stage_step"]
        self.position, self.skipped = saved["position"], saved["skipped"]
        self.switched, self.scalars = saved["switched"], saved["scalars"]
        self._saved = saved
        self.run.forget_metrics_after(self.step)

    def _restore(self, optimizer) -> None:
        """What a stage builds afresh, from the checkpoint that interrupted it."""
        saved, self._saved = self._saved, None
        if saved is None:
            return
        if optimizer and saved["optimizer"]:
            optimizer.load_state_dict(saved["optimizer"])
        if self.ema is not None and saved["ema"]:
            self.ema.load_state_dict(saved["ema"])
        random = saved["random"][min(self.accelerator.process_index, len(saved["random"]) - 1)]
        torch.set_rng_state(random["cpu"])
        if "cuda" in random and self.device.type == "cuda":
            torch.cuda.set_rng_state(random["cuda"], self.device)

    @contextmanager
    def _watching_signals(self):
        """The first SIGINT or SIGTERM lets the step end and saves; a second SIGINT stops at once."""
        def note(number, _frame):
            if self._signal and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._signal = number
            os.write(2, b"\nStopping after this step, with everything saved; Ctrl-C again stops at once.\n")

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _agreed_signal(self) -> int:
        """The signal that any process received, so that all stop after the same step."""
        if self.accelerator.num_processes == 1:
            return self._signal
        return int(self.accelerator.gather(torch.tensor([self._signal], device=self.device)).max())


@contextmanager
def _explaining_batch_norm():
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingFailed("Batch norm needs at least two clips a batch to learn from; give --set batch=2 or more.") from None


def accelerator_for(precision: str, device: str) -> Accelerator:
    """One process or, under torchrun, its share of many.

    Args:
        device: "auto", "cpu", "cuda", "cuda:1" or "mps".
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise BadData("--device cuda: PyTorch sees no CUDA device here; `fctfg doctor` says what it sees. --device cpu works.")
    torch.backends.cudnn.benchmark = True  # clips of a stage have one shape; has no effect on the CPU
    if device not in ("auto", "cpu"):
        os.environ["ACCELERATE_TORCH_DEVICE"] = device
    return Accelerator(cpu=device == "cpu", mixed_precision=PRECISIONS[precision],
                       kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)])


def _of_stage(recipe: Recipe, stage: Stage) -> Recipe:
    """What clips are cut by, with what the stage says of its own."""
    return recipe.model_copy(update={"clip_frames": stage.clip_frames or recipe.clip_frames})


def lay_out_channels_last(module: nn.Module) -> None:
    """Lay out weights over pictures as tensor cores read them, in place; others, such as those over clips, stay."""
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.dim() == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


def several(outputs: Output | list[Output]) -> list[Output]:
    """What a task returned, as a list."""
    return outputs if isinstance(outputs, list) else [outputs]


def _silence(_line: str) -> None:
    """What the processes beside the main one say."""


@torch.no_grad()
def critic_loss_without_learning(critic: Critic, output: Output, clip: Clip) -> Tensor:
    """The critic's own objective on held-out clips, in eval mode."""
    critic.network.eval()
    return critic.critic_loss(output, clip)[0]


def decay(stage: Stage, step: int) -> float:
    """The share of its learning rate with which `stage` takes its step number `step`, from 1 on."""
    falling = stage.steps if stage.decay_from is None else round((1 - stage.decay_from) * stage.steps)
    return min(1.0, (stage.steps - step + 1) / max(1, falling))


@torch.no_grad()
def update_ema(ema: nn.Module, model: nn.Module, decay: float) -> None:
    """Move `ema` towards `model`; buffers are copied."""
    for old, new in zip(ema.parameters(), model.parameters()):
        old.lerp_(new, 1 - decay)
    for old, new in zip(ema.buffers(), model.buffers()):
        old.copy_(new)
