"""StyleGAN2's losses against closed forms and slow loops, and when they are due."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from fctfg.errors import BadRecipe
from fctfg.interfaces import Clip, Latent, Output
from fctfg_plugins.stylegan2 import PathLengthLoss, StyleGAN2Decoder, StyleGAN2GANLoss
from fctfg_plugins.stylegan2.augment import Augmentation, resample
from fctfg_plugins.stylegan2.path_length import path_lengths


def clip_of(frames: Tensor) -> Clip:
    return Clip(frames, frames, torch.zeros(len(frames), 1), torch.zeros(frames.shape[1]))


def noise_frames(clips: int = 2, frames: int = 3, size: int = 8, seed: int = 0) -> Tensor:
    return torch.rand(clips, frames, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class LinearCritic(nn.Module):
    """Of which everything is known in closed form: the gradient to any picture is its weight."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3, 8, 8))

    def forward(self, pictures: Tensor) -> Tensor:
        return (pictures * self.weight).sum((1, 2, 3))


def gan(**options) -> StyleGAN2GANLoss:
    torch.manual_seed(0)
    return StyleGAN2GANLoss(**{"size": 8, "channel_max": 4, **options})


class TestGAN:
    def test_r1_is_half_gamma_times_the_squared_gradient(self):
        loss, clip, output = gan(r1=10, r1_every=4), clip_of(noise_frames()), Output(noise_frames(seed=1))
        loss.network = LinearCritic()
        with_r1, report = loss.critic_loss(output, clip)
        without, _ = loss.critic_loss(output, clip)
        power = loss.network.weight.square().sum()
        torch.testing.assert_close(with_r1 - without, 10 / 2 * 4 * power)
        torch.testing.assert_close(report["r1"], power.detach())
        gradient, = torch.autograd.grad(with_r1 - without, loss.network.weight)
        torch.testing.assert_close(gradient, 10 * 4 * loss.network.weight.detach(), rtol=1e-4, atol=1e-4)

    def test_r1_comes_every_so_many_steps_and_never_in_evaluation(self):
        loss, clip, output = gan(r1_every=3), clip_of(noise_frames()), Output(noise_frames(seed=1))
        came = []
        for step in range(7):
            if step == 4:  # as a run that was stopped and resumed
                again = gan(r1_every=3)
                again.load_state_dict(loss.state_dict())
                loss = again
            loss.r1_last.fill_(-1)
            loss.train_critic(output, clip)
            came.append(bool(loss.r1_last != -1))
            loss.network.eval()
            with torch.no_grad():
                loss.critic_loss(output, clip)
        assert came == [True, False, False, True, False, False, True] and loss.steps == 7

    def test_it_learns_at_the_rate_corrected_for_lazy_regularisation(self):
        [group] = gan().optimizer.param_groups
        assert group["lr"] == pytest.approx(0.002 * 16 / 17)
        assert group["betas"] == pytest.approx((0, 0.99 ** (16 / 17)))
        assert gan(r1=0).optimizer.param_groups[0]["lr"] == 0.002

    @pytest.mark.parametrize("clips, frames", [(1, 1), (1, 5), (3, 2), (8, 1)])
    def test_any_batch_will_do(self, clips, frames):
        report = gan().train_critic(Output(noise_frames(clips, frames)), clip_of(noise_frames(clips, frames, seed=1)))
        assert all(torch.isfinite(value) for value in report.values())

    def test_it_learns_to_tell_bright_from_dark(self):
        loss = gan(lr=0.02, r1=0.1)
        clip, output = clip_of(noise_frames(4, 1).abs()), Output(-noise_frames(4, 1, seed=1).abs())
        before = loss.critic_loss(output, clip)[0].detach()
        for _ in range(15):
            loss.train_critic(output, clip)
        says = loss.measure(output, clip)
        assert loss.critic_loss(output, clip)[0] < before / 2
        assert says["real_sign"] == 1 and says["fake_sign"] == -1 and says["real"] > 0 > says["fake"]


@pytest.fixture(scope="module")
def decoder() -> StyleGAN2Decoder:
    torch.manual_seed(0)
    return StyleGAN2Decoder(size=8, channel_max=4, w_dim=5, num_mapping=1, noise="none")


class TestPathLength:
    def test_lengths_are_those_of_each_pictures_own_jacobian(self, decoder):
        codes = decoder.imagine(2, 2, mixing=0).codes
        frames, noise = decoder(Latent(codes)), torch.randn(2, 2, 3, 8, 8)
        lengths = path_lengths(frames, codes, noise)
        for clip in range(2):
            for frame in range(2):
                jacobian = torch.autograd.functional.jacobian(
                    lambda own: decoder(Latent(own[None, None]))[0, 0], codes[clip, frame])  # (3, 8, 8, N, D)
                along = torch.einsum("chwnd,chw->nd", jacobian, noise[clip, frame]) / math.sqrt(8 * 8)
                torch.testing.assert_close(lengths[clip, frame], along.square().sum(1).mean().sqrt())

    def test_the_penalty_is_the_distance_from_the_running_mean_and_reaches_all_weights(self, decoder):
        loss = PathLengthLoss(every=4, decay=0.25)
        loss.mean.fill_(0.1)
        codes = decoder.imagine(2, 2).codes
        frames = decoder(Latent(codes))
        torch.manual_seed(3)
        penalty = loss(Output(frames, latent=Latent(codes)), clip_of(noise_frames()))
        torch.manual_seed(3)
        lengths = path_lengths(frames, codes, torch.randn_like(frames))
        mean = 0.75 * 0.1 + 0.25 * lengths.mean()
        torch.testing.assert_close(loss.mean, mean.detach())
        torch.testing.assert_close(penalty, 4 * (lengths - mean).square().mean())
        decoder.zero_grad()
        penalty.backward()
        still = {"to_rgb1.bias", "to_rgbs.0.bias", *(f"{layer}.noise.weight" for layer in ("conv1", "convs.0", "convs.1"))}
        assert {name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()} <= still

    def test_it_comes_every_so_many_steps_and_is_else_zero(self, decoder):
        loss, clip = PathLengthLoss(every=3), clip_of(noise_frames())
        values = []
        for _ in range(5):
            latent = decoder.imagine(1, 2)
            values.append(loss(Output(decoder(latent), latent=latent), clip))
            values[-1].backward()  # also where it is 0
        assert [bool(value) for value in values] == [True, False, False, True, False]
        with torch.no_grad():
            latent = decoder.imagine(1, 2)
            assert not loss(Output(decoder(latent), latent=latent), clip)
        assert loss.steps == 5 and set(loss.state_dict()) == {"steps", "mean"}

    def test_frames_without_codes_are_refused(self):
        with pytest.raises(BadRecipe, match="needs the codes"):
            PathLengthLoss()(Output(noise_frames()), clip_of(noise_frames()))


class TestAugmentation:
    @pytest.fixture
    def always(self) -> Augmentation:
        augmentation = Augmentation()
        augmentation.strength.fill_(1)
        return augmentation

    def test_without_strength_nothing_changes(self):
        pictures = noise_frames()[0]
        augmentation = Augmentation()
        assert augmentation(pictures) is pictures
        identity = torch.eye(3).expand(3, 3, 3)
        assert torch.equal(augmentation.moves(3), identity)
        torch.testing.assert_close(augmentation.recolourings(3), torch.eye(4).expand(3, 4, 4))
        torch.testing.assert_close(resample(pictures, identity), pictures, rtol=0, atol=1e-5)

    def test_moves_move_as_they_say(self):
        pictures = noise_frames()[0]
        mirror = torch.diag(torch.tensor([-1.0, 1, 1])).expand(3, 3, 3)
        torch.testing.assert_close(resample(pictures, mirror), pictures.flip(-1), rtol=0, atol=1e-5)
        quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]).expand(3, 3, 3)
        torch.testing.assert_close(resample(pictures, quarter), pictures.rot90(1, (-2, -1)), rtol=0, atol=1e-5)
        aside = torch.tensor([[1, 0, 2 / 8], [0, 1, 0], [0, 0, 1]]).expand(3, 3, 3)  # a pixel of eight
        torch.testing.assert_close(resample(pictures, aside)[..., :-2], pictures[..., 1:-1], rtol=0, atol=1e-5)

    def test_each_picture_is_altered_in_its_own_way_and_lets_gradients_through(self, always):
        picture = noise_frames(1, 1)[0].double().requires_grad_(True)
        torch.manual_seed(0)
        altered = always(picture.float().expand(6, -1, -1, -1))
        assert altered.shape == (6, 3, 8, 8) and torch.pdist(altered.detach().flatten(1)).min() > 1
        altered.square().sum().backward()
        assert torch.isfinite(picture.grad).all() and picture.grad.any()

    def test_hues_turn_around_grey(self, always):
        torch.manual_seed(0)
        colours = always.recolourings(200)
        grey = torch.tensor([0.3, 0.3, 0.3, 1.0])
        turned = colours @ grey
        assert (turned[:, :3].std(1) < 1e-4).all(), "grey stays grey, brighter or darker"
        assert (colours @ torch.tensor([1.0, 0, 0, 1]))[:, :3].std(0).min() > 0.1

    def test_half_the_strength_leaves_half_of_each_change_out(self):
        augmentation = Augmentation()
        augmentation.strength.fill_(0.5)
        torch.manual_seed(0)
        chosen = augmentation._chosen(torch.ones(4000), 0.0)
        assert abs(chosen.mean() - 0.5) < 0.03

    def test_the_strength_follows_how_sure_the_critic_is(self):
        augmentation = Augmentation(target=0.6, pictures=1000, every=4)
        for _ in range(40):
            augmentation.follow(torch.ones(10))
        assert augmentation.strength == pytest.approx(0.4)
        for _ in range(3):
            augmentation.follow(torch.tensor([1.0, -1]))
        assert augmentation.strength == pytest.approx(0.4)  # not looked at yet
        augmentation.follow(torch.tensor([1.0, -1]))
        assert augmentation.strength == pytest.approx(0.392)

    def test_a_critic_with_it_learns_keeps_and_reports_the_strength(self):
        loss = gan(augment=True)
        loss.augmentation.strength.fill_(1)
        clip, output = clip_of(noise_frames(4)), Output(noise_frames(4, seed=1).requires_grad_(True))
        report = loss.train_critic(output.detach(), clip)
        assert report["augmented"] == 1 and torch.isfinite(report["critic"]) and loss.r1_last > 0
        loss(output, clip).backward()
        assert output.frames.grad.any()
        assert "augmentation.strength" in loss.state_dict()
