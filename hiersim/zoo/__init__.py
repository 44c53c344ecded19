"""The bundled models, by name. Importing this package does not import torch; building a model does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Builder:
    """What a bundled name stands for."""

    name: str
    function: str
    """`module:function`; called under the meta device, returns (model, args)."""
    model: str
    workload: str
    dtype: str = "bf16"
    train: bool = False
    bundled: bool = True
    """False for the small models that only tests use."""
    notes: tuple[str, ...] = ()


_LAST_TOKEN = "logits of the last token only, as generation asks for after a prefill"
_PRIVATE = "own plain-torch definition with the operator structure of the common eager implementation"
_ROUTING = "tokens are spread evenly over the experts (deviation D51)"

_BUILDERS: Final = (
    Builder(
        name="bert-large-prefill",
        function="hiersim.zoo.transformer:build_bert_large",
        model="BERT-large",
        workload="8 x 512 tokens, inference, no padding mask",
        notes=(_PRIVATE, "with pooler"),
    ),
    Builder(
        name="gpt2-large-prefill",
        function="hiersim.zoo.transformer:build_gpt2_large",
        model="GPT-2 large",
        workload="4 x 1024 tokens, prefill",
        notes=(
            _PRIVATE,
            _LAST_TOKEN,
            "GELU in its tanh form, written out as in the reference code; dropout 0; no KV cache is returned",
        ),
    ),
    Builder(
        name="llama3-8b-prefill",
        function="hiersim.zoo.llama:build_llama3_8b_prefill",
        model="Llama-3-8B",
        workload="1 x 2048 tokens, prefill",
        notes=(_PRIVATE, _LAST_TOKEN, "no KV cache is returned"),
    ),
    Builder(
        name="llama3-8b-decode",
        function="hiersim.zoo.llama:build_llama3_8b_decode",
        model="Llama-3-8B",
        workload="1 x 1 token, decode over a static KV cache of 2048",
        notes=(_PRIVATE, "KV cache of fixed size, written in place at position 2047 and read whole"),
    ),
    Builder(
        name="llama3-8b-decode-b32",
        function="hiersim.zoo.llama:build_llama3_8b_decode_b32",
        model="Llama-3-8B",
        workload="32 x 1 token, decode over a static KV cache of 2048",
        notes=(_PRIVATE, "KV cache of fixed size, written in place at position 2047 and read whole"),
    ),
    Builder(
        name="llama3-70b-prefill",
        function="hiersim.zoo.llama:build_llama3_70b_prefill",
        model="Llama-3-70B",
        workload="1 x 2048 tokens, prefill",
        notes=(_PRIVATE, _LAST_TOKEN, "no KV cache is returned"),
    ),
    Builder(
        name="llama3-70b-decode",
        function="hiersim.zoo.llama:build_llama3_70b_decode",
        model="Llama-3-70B",
        workload="1 x 1 token, decode over a static KV cache of 2048",
        notes=(_PRIVATE, "KV cache of fixed size, written in place at position 2047 and read whole"),
    ),
    Builder(
        name="mixtral-8x7b-decode",
        function="hiersim.zoo.mixtral:build_mixtral_8x7b_decode",
        model="Mixtral-8x7B",
        workload="1 x 1 token, decode over a static KV cache of 2048",
        notes=(
            _PRIVATE,
            "KV cache of fixed size, written in place at position 2047 and read whole",
            _ROUTING,
        ),
    ),
    Builder(
        name="mixtral-8x7b-prefill",
        function="hiersim.zoo.mixtral:build_mixtral_8x7b_prefill",
        model="Mixtral-8x7B",
        workload="1 x 2048 tokens, prefill",
        bundled=False,
        notes=(_PRIVATE, _LAST_TOKEN, "no KV cache is returned", _ROUTING),
    ),
    Builder(
        name="dit-xl-infer",
        function="hiersim.zoo.diffusion:build_dit_xl",
        model="DiT-XL/2",
        workload="one denoising step of 16 latents of 32 x 32 (8 images of 256 x 256 with guidance)",
        notes=(_PRIVATE, "without the autoencoder and the sampler"),
    ),
    Builder(
        name="sd15-unet-infer",
        function="hiersim.zoo.unet:build_sd15_unet",
        model="Stable Diffusion 1.5, UNet",
        workload="one denoising step of 2 latents of 64 x 64 under 77 tokens (1 image of 512 x 512 with guidance)",
        bundled=False,
        notes=(_PRIVATE, "without the autoencoder, the text encoder and the sampler", "channels last"),
    ),
    Builder(
        name="bev-vision-infer",
        function="hiersim.zoo.driving:build_bev_vision",
        model="RegNetY-3.2GF, BiFPN, grid attention, ConvGRU",
        workload="8 cameras of 480 x 640, one frame to a grid of 80 x 80 cells",
        notes=(
            "own network of published parts, of the kind that cars run; no particular car's",
            "batch normalisation with running statistics, not folded into the convolutions",
        ),
    ),
    Builder(
        name="resnet50-infer",
        function="hiersim.zoo.vision:build_resnet50",
        model="ResNet-50 v1.5",
        workload="32 images of 224 x 224, inference",
        notes=(_PRIVATE, "batch normalisation with running statistics, not folded into the convolutions"),
    ),
    Builder(
        name="vit-large-infer",
        function="hiersim.zoo.vision:build_vit_large",
        model="ViT-L/16",
        workload="16 images of 224 x 224, inference",
        notes=(_PRIVATE,),
    ),
    Builder(
        name="gpt2-train",
        function="hiersim.zoo.transformer:build_gpt2_train",
        model="GPT-2 small",
        workload="8 x 1024 tokens, one training step with AdamW (foreach)",
        train=True,
        notes=(
            _PRIVATE,
            "weights, gradients and optimizer state in bf16; loss in fp32",
            "dropout 0; a steady-state step",
        ),
    ),
    Builder(
        name="gpt2-train-checkpointed",
        function="hiersim.zoo.transformer:build_gpt2_train_checkpointed",
        model="GPT-2 small",
        workload="8 x 1024 tokens, one training step with AdamW (foreach), every block checkpointed",
        train=True,
        notes=(
            _PRIVATE,
            "weights, gradients and optimizer state in bf16; loss in fp32",
            "dropout 0; a steady-state step",
            "each of the 12 blocks keeps its input only and runs again in the backward pass",
        ),
    ),
    Builder(
        name="bert-large-layer-train",
        function="hiersim.zoo.encoder_layer:build_bert_large_layer",
        model="BERT-large, one encoder layer",
        workload="8 x 512 tokens, forward and backward of one layer, attention written out, dropout 0.1",
        dtype="fp16",
        train=True,
        bundled=False,
    ),
    Builder(
        name="tiny-gpt2",
        function="hiersim.zoo.transformer:build_tiny_gpt2",
        model="GPT-2, 2 layers of 64",
        workload="2 x 32 tokens, prefill",
        bundled=False,
    ),
    Builder(
        name="tiny-gpt2-train",
        function="hiersim.zoo.transformer:build_tiny_gpt2_train",
        model="GPT-2, 2 layers of 64",
        workload="2 x 32 tokens, one training step with AdamW (foreach)",
        train=True,
        bundled=False,
    ),
    Builder(
        name="tiny-gpt2-train-checkpointed",
        function="hiersim.zoo.transformer:build_tiny_gpt2_train_checkpointed",
        model="GPT-2, 2 layers of 64",
        workload="2 x 32 tokens, one training step with AdamW (foreach), every block checkpointed",
        train=True,
        bundled=False,
    ),
    Builder(
        name="tiny-llama",
        function="hiersim.zoo.llama:build_tiny_llama",
        model="Llama, 2 layers of 128",
        workload="1 x 32 tokens, prefill",
        bundled=False,
    ),
    Builder(
        name="tiny-llama-decode",
        function="hiersim.zoo.llama:build_tiny_llama_decode",
        model="Llama, 2 layers of 128",
        workload="2 x 1 token, decode over a static KV cache of 64",
        bundled=False,
    ),
    Builder(
        name="tiny-mixtral",
        function="hiersim.zoo.mixtral:build_tiny_mixtral",
        model="Mixtral, 2 layers of 128, 4 experts",
        workload="1 x 32 tokens, prefill",
        bundled=False,
        notes=(_ROUTING,),
    ),
    Builder(
        name="tiny-mixtral-decode",
        function="hiersim.zoo.mixtral:build_tiny_mixtral_decode",
        model="Mixtral, 2 layers of 128, 4 experts",
        workload="1 x 1 token, decode over a static KV cache of 64",
        bundled=False,
        notes=(_ROUTING,),
    ),
    Builder(
        name="tiny-dit",
        function="hiersim.zoo.diffusion:build_tiny_dit",
        model="DiT, 2 layers of 64",
        workload="one denoising step of 2 latents of 8 x 8",
        bundled=False,
    ),
    Builder(
        name="tiny-unet",
        function="hiersim.zoo.unet:build_tiny_unet",
        model="UNet, 2 levels of 16 and 32",
        workload="one denoising step of 2 latents of 8 x 8",
        bundled=False,
    ),
    Builder(
        name="tiny-bev",
        function="hiersim.zoo.driving:build_tiny_bev",
        model="RegNet, BiFPN, grid attention, ConvGRU, small",
        workload="2 cameras of 64 x 64, one frame to a grid of 8 x 8 cells",
        bundled=False,
    ),
    Builder(
        name="tiny-mlp",
        function="hiersim.zoo.transformer:build_tiny_mlp",
        model="MLP of 64, 256, 64",
        workload="32 rows, inference",
        bundled=False,
    ),
    Builder(
        name="tiny-resnet",
        function="hiersim.zoo.vision:build_tiny_resnet",
        model="ResNet, 2 blocks of 16",
        workload="2 images of 32 x 32, inference",
        bundled=False,
    ),
)
BUILDERS: Final = {builder.name: builder for builder in _BUILDERS}
"""NAME -> `Builder`, in the order of the documentation."""
