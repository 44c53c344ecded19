"""What some models of transformers want beside tokens, images and sound: series, videos, patches, states of a robot.

One rule for each argument, by its name, with sizes from the configuration. What would need values (a grid that says how
many patches an image has) has no rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from hiersim.errors import TraceError

PATCHES: Final = 2048
"""Patches of an image that is given as such; what Pix2Struct's processor makes."""
SERIES_FRAMES: Final = 1000
"""Frames of a spectrogram, 10 s."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """What arguments are made for."""

    config: Any
    batch: int
    tokens: int
    image: tuple[int, ...]
    """Channels, height, width; before them frames, where the configuration has a number of them."""
    dtype: torch.dtype

    def value(self, *names: str, default: int | None = None) -> int:
        """The first of these values that the configuration has; of a pair the first."""
        for name in names:
            found = getattr(self.config, name, getattr(getattr(self.config, "vision_config", None), name, None))
            found = found[0] if isinstance(found, list | tuple) and found else found
            if isinstance(found, int) and not isinstance(found, bool):
                return found
        if default is None:
            raise TraceError(f"its configuration has no {names[0]}", expected=f"a value, --config {names[0]}=N")
        return default

    def real(self, *shape: int) -> Tensor:
        """A batch of numbers."""
        return torch.zeros(self.batch, *shape, dtype=self.dtype)

    def whole(self, *shape: int) -> Tensor:
        """A batch of indices, or of marks."""
        return torch.zeros(self.batch, *shape, dtype=torch.long)

    @property
    def past(self) -> int:
        """Steps of a series that a forecast looks at, with the lags before them."""
        lags = getattr(self.config, "lags_sequence", None)
        return self.value("context_length", "prediction_length") + (max(lags) if lags else 0)

    @property
    def channels(self) -> tuple[int, ...]:
        """The last side of a series: none where it has one channel and its model wants none."""
        if hasattr(self.config, "num_input_channels"):
            return (int(self.config.num_input_channels),)
        width = self.value("input_size", default=1)
        return () if width == 1 else (width,)

    def places(self) -> Tensor:
        """Which tokens are an image: on the host, since shapes depend on how many they are."""
        marks = torch.zeros(self.batch, self.tokens, dtype=torch.bool, device="cpu")
        marks[:, : self.value("latent_query_num")] = True
        return marks

    def video(self) -> Tensor:
        """Frames of an image."""
        frames = self.value("frames_per_clip", "num_frames", default=8)
        side = self.value("crop_size", "image_size", default=self.image[-1])
        return self.real(frames, self.value("in_chans", "num_channels", default=3), side, side)


RULES: Final[Mapping[str, Callable[[Sizes], Tensor]]] = {
    "attention_mask": lambda sizes: sizes.whole(sizes.tokens),
    "past_values": lambda sizes: sizes.real(sizes.past, *sizes.channels),
    "past_observed_mask": lambda sizes: sizes.real(sizes.past, *sizes.channels),
    "past_values_padding": lambda sizes: sizes.whole(sizes.past),
    "past_time_features": lambda sizes: sizes.real(sizes.past, sizes.value("num_time_features")),
    "future_values": lambda sizes: sizes.real(sizes.value("prediction_length"), *sizes.channels),
    "future_time_features": lambda sizes: sizes.real(
        sizes.value("prediction_length"), sizes.value("num_time_features")
    ),
    "freq": lambda sizes: sizes.whole(1),
    "pixel_values_videos": Sizes.video,
    "states": lambda sizes: sizes.real(sizes.tokens, sizes.value("state_dim")),
    "actions": lambda sizes: sizes.real(sizes.tokens, sizes.value("act_dim")),
    "rewards": lambda sizes: sizes.real(sizes.tokens, 1),
    "returns_to_go": lambda sizes: sizes.real(sizes.tokens, 1),
    "timesteps": lambda sizes: sizes.whole(sizes.tokens),
    "flattened_patches": lambda sizes: sizes.real(PATCHES, 2 + sizes.value("patch_embed_hidden_size")),
    "audio_mel": lambda sizes: sizes.real(SERIES_FRAMES, sizes.value("input_feat_size")),
    "audio_mel_mask": lambda sizes: sizes.whole(SERIES_FRAMES).bool(),
    "input_features_mask": lambda sizes: sizes.whole(SERIES_FRAMES).bool(),
    "query_embeds": lambda sizes: sizes.real(32, sizes.value("hidden_size")),
    "inputs_embeds": lambda sizes: sizes.real(sizes.tokens, sizes.value("hidden_size")),
    "qformer_input_ids": lambda sizes: sizes.whole(sizes.tokens),
    "task_inputs": lambda sizes: sizes.whole(sizes.value("task_seq_len")),
    "prompt_pixel_values": lambda sizes: sizes.real(*sizes.image),
    "prompt_masks": lambda sizes: sizes.real(*sizes.image),
    "visual_feats": lambda sizes: sizes.real(36, sizes.value("visual_feat_dim")),
    "visual_pos": lambda sizes: sizes.real(36, sizes.value("visual_pos_dim")),
    "image_embeds_position_mask": Sizes.places,
    "spectrogram": lambda sizes: sizes.real(SERIES_FRAMES, sizes.value("model_in_dim", "num_mel_bins", default=80)),
}
"""How an argument of that name is made."""
TOGETHER: Final[Mapping[str, tuple[str, ...]]] = {
    "past_values": ("future_values", "future_time_features"),
    "input_ids": ("visual_feats", "visual_pos", "image_embeds_position_mask"),
    "states": ("actions", "rewards", "returns_to_go", "timesteps"),
}
"""Arguments that a model says it can do without and cannot, beside one that it wants."""
