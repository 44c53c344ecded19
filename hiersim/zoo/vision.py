"""ResNet-50 and ViT-L/16 in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hiersim.zoo.transformer import EncoderAttention

DTYPE = torch.bfloat16


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a residual; the stride sits in the 3x3 (v1.5)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        out = functional.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return functional.relu(out, inplace=True)


class ResNet(nn.Module):
    """Bottleneck ResNet; (3, 4, 6, 3) blocks make ResNet-50."""

    def __init__(self, blocks: tuple[int, ...], width: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs, stages = width, []
        for stage, count in enumerate(blocks):
            layers = []
            for block in range(count):
                layers.append(Bottleneck(inputs, width << stage, 2 if block == 0 and stage > 0 else 1))
                inputs = 4 * (width << stage)
            stages.append(nn.Sequential(*layers))
        self.layers = nn.Sequential(*stages)
        self.fc = nn.Linear(inputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(images)), inplace=True)
        x = self.layers(functional.max_pool2d(x, 3, stride=2, padding=1))
        logits: Tensor = self.fc(torch.flatten(functional.adaptive_avg_pool2d(x, 1), 1))
        return logits


class VitLayer(nn.Module):
    """Pre-norm ViT layer with the erf form of GELU."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm_before = nn.LayerNorm(width, eps=1e-12)
        self.attention = EncoderAttention(width, heads)
        self.attention_output = nn.Linear(width, width)
        self.norm_after = nn.LayerNorm(width, eps=1e-12)
        self.intermediate = nn.Linear(width, hidden)
        self.output = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.attention_output(self.attention(self.norm_before(x))) + x
        out: Tensor = self.output(functional.gelu(self.intermediate(self.norm_after(x)))) + x
        return out


class Vit(nn.Module):
    """Vision transformer; returns class logits."""

    def __init__(self, *, layers: int, width: int, heads: int, patch: int, image: int, classes: int) -> None:
        super().__init__()
        self.projection = nn.Conv2d(3, width, patch, stride=patch)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, (image // patch) ** 2 + 1, width))
        self.layer = nn.ModuleList(VitLayer(width, heads, 4 * width) for _ in range(layers))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.classifier = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.projection(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(patches.shape[0], -1, -1), patches), dim=1) + self.position_embeddings
        for layer in self.layer:
            x = layer(x)
        logits: Tensor = self.classifier(self.norm(x)[:, 0])
        return logits


def build_resnet50() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """ResNet-50 over 32 images of 224 x 224."""
    return ResNet((3, 4, 6, 3), 64, 1000).to(DTYPE).eval(), (torch.zeros(32, 3, 224, 224, dtype=DTYPE),)


def build_vit_large() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """ViT-L/16 over 16 images of 224 x 224."""
    model = Vit(layers=24, width=1024, heads=16, patch=16, image=224, classes=1000)
    return model.to(DTYPE).eval(), (torch.zeros(16, 3, 224, 224, dtype=DTYPE),)


def build_tiny_resnet() -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A two-stage ResNet over 2 images of 32 x 32."""
    return ResNet((1, 1), 16, 10).to(DTYPE).eval(), (torch.zeros(2, 3, 32, 32, dtype=DTYPE),)
