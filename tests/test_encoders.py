"""Encoders: images in [0, 1] -> current (T, N, C, H, W)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from snn_lightning import FGSM, Direct, Frames, Poisson, seeded

MEAN, STD = [0.25, 0.5, 0.75], [0.5, 0.25, 1.0]


def normalised(x: Tensor) -> Tensor:
    """Channel by channel, by hand."""
    channels = [(x[..., i, :, :] - MEAN[i]) / STD[i] for i in range(3)]
    return torch.stack(channels, dim=-3)


def test_direct_repeats_the_normalised_image_without_a_copy() -> None:
    images = torch.rand(2, 3, 4, 5)
    current = Direct(6, MEAN, STD)(images)
    assert current.shape == (6, 2, 3, 4, 5)
    assert current.stride(0) == 0
    torch.testing.assert_close(current, normalised(images).expand(6, -1, -1, -1, -1))
    assert torch.equal(Direct(6)(images), images.expand(6, -1, -1, -1, -1))


def test_poisson_gives_fresh_spikes_normalised_where_asked() -> None:
    images = torch.rand(2, 3, 4, 4)
    encoder = Poisson(7)
    spikes = encoder(images)
    assert spikes.shape == (7, 2, 3, 4, 4)
    assert set(spikes.unique().tolist()) == {0, 1}
    assert not torch.equal(encoder(images), spikes)
    with seeded(1):
        spikes = Poisson(7)(images)
    with seeded(1):
        current = Poisson(7, MEAN, STD)(images)
    torch.testing.assert_close(current, normalised(spikes))


def test_frames_give_one_frame_a_step() -> None:
    images = torch.rand(2, 5, 3, 4, 4)
    current = Frames(MEAN, STD)(images)
    assert current.shape == (5, 2, 3, 4, 4)
    for t in range(5):
        torch.testing.assert_close(current[t], normalised(images[:, t]))
    assert torch.equal(Frames()(images), images.transpose(0, 1))
    counts = torch.randint(0, 256, (2, 5, 2, 4, 4)).float()
    torch.testing.assert_close(Frames([0], [1 / 255])(counts / 255), counts.transpose(0, 1))


@pytest.mark.parametrize(
    "encoder", [Direct(4, MEAN, STD), Poisson(4, MEAN, STD), Frames(MEAN, STD)], ids=repr
)
def test_the_gradient_of_an_encoder_sums_over_what_each_pixel_feeds(encoder) -> None:
    shape = (2, 4, 3, 5, 5) if isinstance(encoder, Frames) else (2, 3, 5, 5)
    images = torch.rand(shape, requires_grad=True)
    current = encoder(images)
    weights = torch.randn(current.shape)
    (gradient,) = torch.autograd.grad((current * weights).sum(), images)
    expected = weights / torch.tensor(STD).view(3, 1, 1)
    expected = expected.transpose(0, 1) if isinstance(encoder, Frames) else expected.sum(0)
    torch.testing.assert_close(gradient, expected)


def test_one_mean_and_std_serve_all_channels() -> None:
    images = torch.rand(2, 4, 3, 3)
    torch.testing.assert_close(Direct(2, [0.5], [0.25])(images)[0], (images - 0.5) * 4)


@pytest.mark.parametrize("kind", [Direct, Poisson])
def test_extended_is_another_encoder_over_more_steps(kind) -> None:
    encoder = kind(3, MEAN, STD).eval()
    extended = encoder.extended(4)
    assert type(extended) is kind
    assert extended is not encoder
    assert (encoder.timesteps, extended.timesteps) == (3, 12)
    assert not extended.training
    assert extended(torch.rand(1, 3, 4, 4)).shape[0] == 12
    assert torch.equal(extended.mean, encoder.mean)
    assert torch.equal(extended.std, encoder.std)
    assert kind(3).extended(2).mean is None
    double = kind(3, MEAN, STD).double().extended(2)
    assert double.mean.dtype == torch.float64
    with pytest.raises(ValueError, match="time extension must be >= 1"):
        encoder.extended(0)


def test_frames_cannot_be_extended() -> None:
    encoder = Frames()
    assert encoder.extended(1) is encoder
    with pytest.raises(ValueError, match="Frames cannot be extended"):
        encoder.extended(2)


def test_normalisation_is_configuration_not_state() -> None:
    assert Direct(4, MEAN, STD).state_dict() == {}
    assert Direct(4, MEAN, STD).to("meta").mean.is_meta


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Direct(0), "timesteps must be >= 1, not 0"),
        (lambda: Poisson(-1), "timesteps must be >= 1, not -1"),
        (lambda: Direct(4, mean=[0.5]), "both mean and std"),
        (lambda: Frames(std=[0.5]), "both mean and std"),
        (lambda: Direct(4, [0.5, 0.5], [0.5]), "mean has 2 values and std 1"),
        (lambda: Direct(4, [0.5], [0.0]), "every std must be > 0"),
        (lambda: Direct(4, [0.5], [math.nan]), "every std must be > 0"),
        (lambda: Direct(4)(torch.rand(3, 8, 8)), r"Direct takes images \(N, C, H, W\)"),
        (lambda: Direct(4)(torch.rand(1, 2, 3, 8, 8)), "Direct takes images"),
        (lambda: Frames()(torch.rand(2, 3, 8, 8)), r"Frames takes images \(N, T, C, H, W\)"),
        (lambda: Frames()(torch.rand(2, 0, 3, 8, 8)), "at least one frame"),
        (lambda: Direct(4, MEAN, STD)(torch.rand(2, 1, 8, 8)), "3 means for images of 1 channel"),
    ],
)
def test_encoders_refuse_what_does_not_fit(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_images_as_a_loader_gives_them_are_scaled() -> None:
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    encoder = Direct(2, mean=[0.5], std=[0.25])
    assert torch.equal(encoder(images), encoder(images.float() / 255))
    with pytest.raises(ValueError, match=r"not torch.uint8: give images.float\(\) / 255"):
        FGSM()(nn.Flatten(), images, torch.zeros(2, dtype=torch.long))
