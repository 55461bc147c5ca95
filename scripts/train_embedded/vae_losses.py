"""What the autoencoder is trained for: true colours and edges, and texture that stays alive."""

from __future__ import annotations

import torch
import torch.nn.functional as F

_BLUR = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def reconstruction_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """L1 on pixels, on their differences along x and y, and on 4x4 means; plus squared error.

    Args:
        output: (B, 3, H, W) float32, about [-1, 1].
        target: likewise.
    """
    difference = output - target
    gradients = _along_x(difference).abs().mean() + _along_y(difference).abs().mean()
    means = F.avg_pool2d(difference, 4).abs().mean()
    return difference.abs().mean() + 0.5 * gradients + means + difference.square().mean()


def texture_loss(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """How far the strength of fine detail is off, whatever its phase, over three bands.

    A pixel loss alone answers unpredictable grain with a flat surface; here a flat surface costs
    as much as grain of twice the strength.
    """
    loss = output.new_zeros(())
    for _ in range(3):
        output_low, target_low = _blur(output), _blur(target)
        strength = [
            F.avg_pool2d((image - low).square().mean(1, keepdim=True), 8, stride=4)
            for image, low in ((output, output_low), (target, target_low))
        ]
        loss = loss + ((strength[0] + 1e-5).sqrt() - (strength[1] + 1e-5).sqrt()).abs().mean()
        output, target = F.avg_pool2d(output_low, 2), F.avg_pool2d(target_low, 2)
    return loss


def latent_loss(latents: torch.Tensor) -> torch.Tensor:
    """Keeps each latent channel near zero mean and unit variance, and free of outliers.

    Without the last term the encoder marked the borders of a picture with values of -5, which a
    diffusion model then has to learn and which tiled decoding shows as lines.
    """
    variance = (latents.std((0, 2, 3)) - 1).square().mean()
    mean = latents.mean((0, 2, 3)).square().mean()
    outliers = F.relu(latents.abs() - 2.5).square().mean()
    return variance + mean + 10 * outliers


def _along_x(image: torch.Tensor) -> torch.Tensor:
    return image[..., 1:] - image[..., :-1]


def _along_y(image: torch.Tensor) -> torch.Tensor:
    return image[..., 1:, :] - image[..., :-1, :]


def _blur(image: torch.Tensor) -> torch.Tensor:
    channels = image.shape[1]
    kernel = _BLUR.to(image)
    rows = F.conv2d(
        F.pad(image, (2, 2, 0, 0), mode="replicate"),
        kernel.view(1, 1, 1, 5).expand(channels, 1, 1, 5),
        groups=channels,
    )
    return F.conv2d(
        F.pad(rows, (0, 0, 2, 2), mode="replicate"),
        kernel.view(1, 1, 5, 1).expand(channels, 1, 5, 1),
        groups=channels,
    )
