"""A camera network of the kind that cars run, in plain torch: cameras in, a map of the surroundings out.

The parts are published ones: a RegNetY backbone (https://arxiv.org/abs/2003.13678) for each camera, weighted feature
pyramids (BiFPN, https://arxiv.org/abs/1911.09070), attention from a grid seen from above to the pixels of all cameras
(as BEVFormer and PETR do), a convolutional GRU that carries the grid over time, and heads on the grid. The whole is no
particular car's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from hiersim.zoo.transformer import merge_heads, split_heads

DTYPE = torch.bfloat16


@dataclass(frozen=True, slots=True, kw_only=True)
class BevConfig:
    """Sizes of the network."""

    cameras: int
    height: int
    width: int
    widths: tuple[int, ...]
    """Channels of the backbone's stages; strides 4, 8, 16, 32."""
    depths: tuple[int, ...]
    group: int
    """Channels per group of the 3x3 convolutions."""
    stem: int
    pyramid: int
    """Channels of the feature pyramid."""
    pyramids: int
    grid: int
    """Cells along each side of the grid."""
    model: int
    """Channels of a cell."""
    heads: int
    attention_layers: int
    classes: int


# RegNetY-3.2GF of its paper: with classifier 19.4 million parameters and 3.2 billion multiply-adds at 224 x 224.
BEV_VISION = BevConfig(
    cameras=8, height=480, width=640, widths=(72, 216, 576, 1512), depths=(2, 5, 13, 1), group=24, stem=32, pyramid=160,
    pyramids=3, grid=80, model=256, heads=8, attention_layers=3, classes=10,
)  # fmt: skip
TINY_BEV = BevConfig(
    cameras=2, height=64, width=64, widths=(16, 16, 32, 32), depths=(1, 1, 1, 1), group=8, stem=8, pyramid=16,
    pyramids=1, grid=8, model=32, heads=4, attention_layers=1, classes=3,
)  # fmt: skip


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation with running statistics, and ReLU unless it is told not to."""

    def __init__(
        self, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1, act: bool = True
    ) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        super().__init__(*layers, *([nn.ReLU(inplace=True)] if act else []))


class SqueezeExcite(nn.Module):
    """Channels scaled by what the whole image shows."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.fc2 = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = functional.relu(self.fc1(x.mean((2, 3), keepdim=True)), inplace=True)
        return x * torch.sigmoid(self.fc2(scale))


class RegNetBlock(nn.Module):
    """1x1, grouped 3x3, squeeze and excitation, 1x1, around a residual."""

    def __init__(self, inputs: int, outputs: int, stride: int, group: int) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, outputs, 1)
        self.conv2 = ConvNorm(outputs, outputs, 3, stride, outputs // group)
        self.se = SqueezeExcite(outputs, round(inputs / 4))
        self.conv3 = ConvNorm(outputs, outputs, 1, act=False)
        same = inputs == outputs and stride == 1
        self.downsample = None if same else ConvNorm(inputs, outputs, 1, stride, act=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv3(self.se(self.conv2(self.conv1(x))))
        return functional.relu(out + (x if self.downsample is None else self.downsample(x)), inplace=True)


class RegNet(nn.Module):
    """RegNetY; returns the features of strides 8, 16 and 32."""

    def __init__(self, config: BevConfig) -> None:
        super().__init__()
        self.stem = ConvNorm(3, config.stem, 3, 2)
        inputs, stages = config.stem, []
        for outputs, depth in zip(config.widths, config.depths, strict=True):
            blocks = [
                RegNetBlock(inputs if at == 0 else outputs, outputs, 2 - (at > 0), config.group) for at in range(depth)
            ]
            stages.append(nn.Sequential(*blocks))
            inputs = outputs
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, features = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features[1:]


class Separable(nn.Sequential):
    """Depthwise 3x3, pointwise 1x1, normalisation and SiLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.SiLU(inplace=True),
        )


class BiFpn(nn.Module):
    """Three levels, down and up again, each sum with learned weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(4, 3))
        self.down_middle, self.down_fine = Separable(channels), Separable(channels)
        self.up_middle, self.up_coarse = Separable(channels), Separable(channels)

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        fine, middle, coarse = levels
        shares = functional.relu(self.weights)
        shares = shares / (shares.sum(dim=1, keepdim=True) + 1e-4)
        lower = self.down_middle(shares[0, 0] * middle + shares[0, 1] * _twice(coarse))
        fine = self.down_fine(shares[1, 0] * fine + shares[1, 1] * _twice(lower))
        middle = self.up_middle(shares[2, 0] * middle + shares[2, 1] * lower + shares[2, 2] * _half(fine))
        coarse = self.up_coarse(shares[3, 0] * coarse + shares[3, 1] * _half(middle))
        return [fine, middle, coarse]


def _twice(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2.0, mode="nearest")


def _half(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 2)


class ViewAttention(nn.Module):
    """Cells of the grid ask the pixels of all cameras, and think about the answer."""

    def __init__(self, config: BevConfig) -> None:
        super().__init__()
        width, self.heads = config.model, config.heads
        self.norm_query, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q_proj, self.k_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.v_proj, self.out_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, cells: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        parts = (self.q_proj(self.norm_query(cells)), self.k_proj(keys), self.v_proj(values))
        q, k, v = (split_heads(part, self.heads) for part in parts)
        cells = cells + self.out_proj(merge_heads(functional.scaled_dot_product_attention(q, k, v)))
        out: Tensor = cells + self.fc2(functional.gelu(self.fc1(self.norm_mlp(cells))))
        return out


class Lift(nn.Module):
    """From the cameras' features and calibration to the grid."""

    def __init__(self, config: BevConfig) -> None:
        super().__init__()
        self.grid = config.grid
        self.value = nn.Conv2d(config.pyramid, config.model, 1)
        rays = (config.height // 16) * (config.width // 16)
        self.rays = nn.Parameter(torch.zeros(1, rays, config.model))
        self.calibration = nn.Sequential(
            nn.Linear(16, config.model), nn.ReLU(inplace=True), nn.Linear(config.model, config.model)
        )
        self.cells = nn.Parameter(torch.zeros(1, config.grid**2, config.model))
        self.layers = nn.ModuleList(ViewAttention(config) for _ in range(config.attention_layers))

    def forward(self, levels: list[Tensor], calibration: Tensor) -> Tensor:
        fine, middle, coarse = levels
        values = self.value(middle + _half(fine) + _twice(coarse)).flatten(2).transpose(1, 2)
        keys = values + self.rays + self.calibration(calibration).unsqueeze(1)
        keys, values = keys.reshape(1, -1, keys.shape[-1]), values.reshape(1, -1, values.shape[-1])
        cells = self.cells
        for layer in self.layers:
            cells = layer(cells, keys, values)
        return cells.transpose(1, 2).reshape(1, -1, self.grid, self.grid)


class ConvGru(nn.Module):
    """What the grid knew before, updated by what is seen now."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(2 * channels, 2 * channels, 3, padding=1)
        self.candidate = nn.Conv2d(2 * channels, channels, 3, padding=1)

    def forward(self, seen: Tensor, before: Tensor) -> Tensor:
        update, reset = torch.sigmoid(self.gates(torch.cat((seen, before), dim=1))).chunk(2, dim=1)
        fresh = torch.tanh(self.candidate(torch.cat((seen, reset * before), dim=1)))
        return (1 - update) * before + update * fresh


class Heads(nn.Module):
    """Objects at the grid's resolution; road and free space at twice it."""

    def __init__(self, config: BevConfig) -> None:
        super().__init__()
        width = config.model
        self.trunk = nn.Sequential(ConvNorm(width, width, 3), ConvNorm(width, width, 3))
        self.objects = nn.Sequential(ConvNorm(width, width // 2, 3), nn.Conv2d(width // 2, config.classes + 8, 1))
        self.up = nn.ConvTranspose2d(width, width // 2, 2, stride=2)
        self.lanes = nn.Sequential(ConvNorm(width // 2, width // 2, 3), nn.Conv2d(width // 2, 4, 1))
        self.space = nn.Sequential(ConvNorm(width // 2, width // 2, 3), nn.Conv2d(width // 2, 2, 1))

    def forward(self, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.trunk(grid)
        larger = functional.relu(self.up(x))
        return self.objects(x), self.lanes(larger), self.space(larger)


class BevVision(nn.Module):
    """One frame of all cameras; returns the new memory, objects, lanes and free space."""

    def __init__(self, config: BevConfig) -> None:
        super().__init__()
        self.backbone = RegNet(config)
        self.lateral = nn.ModuleList(nn.Conv2d(width, config.pyramid, 1) for width in config.widths[1:])
        self.neck = nn.ModuleList(BiFpn(config.pyramid) for _ in range(config.pyramids))
        self.lift = Lift(config)
        self.temporal = ConvGru(config.model)
        self.heads = Heads(config)

    def forward(self, images: Tensor, calibration: Tensor, memory: Tensor) -> tuple[Tensor, ...]:
        levels = [side(level) for side, level in zip(self.lateral, self.backbone(images), strict=True)]
        for layer in self.neck:
            levels = layer(levels)
        memory = self.temporal(self.lift(levels, calibration), memory)
        return memory, *self.heads(memory)


def _build(config: BevConfig) -> tuple[nn.Module, tuple[Tensor, ...]]:
    images = torch.zeros(config.cameras, 3, config.height, config.width, dtype=DTYPE)
    calibration = torch.zeros(config.cameras, 16, dtype=DTYPE)
    memory = torch.zeros(1, config.model, config.grid, config.grid, dtype=DTYPE)
    return BevVision(config).to(DTYPE).eval(), (images, calibration, memory)


def build_bev_vision() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Eight cameras of 480 x 640 to a grid of 80 x 80 cells, one frame."""
    return _build(BEV_VISION)


def build_tiny_bev() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Two cameras of 64 x 64 to a grid of 8 x 8 cells, one frame."""
    return _build(TINY_BEV)
