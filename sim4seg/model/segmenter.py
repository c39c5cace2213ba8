"""SAM's own modules, composed for a batch of images with one prompt each."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
from torch import Tensor, nn

from sim4seg.device import without_autocast
from sim4seg.model.fusion import FeatureFusion
from sim4seg.model.mobile_encoder import MobileEncoder

PIXELS_AT_ONCE = 2 * 1024 * 1024
"""What the image encoder sees at once. ViT-H writes all 16 x 4096 x 4096 scores of an image out, 1 GB in float32, and
has more than one such tensor alive; two images keep a GPU busy already."""


class ConvStem(nn.Sequential):
    """Patch embedding by strided convolutions: same grid as one big patch, far quicker to train from scratch.

    Early convolutions help transformers see better (Xiao et al. 2021, arXiv 2106.14881).
    """

    def __init__(self, dim: int, patch_size: int, *, channels_last: bool) -> None:
        layers: list[nn.Module] = []
        before, width, stride = 3, 32, 4
        while patch_size > 1:
            # A first stride of 4 leaves a quarter of the pixels to the costly steps between convolutions.
            # Kernel 2s - 1 and padding s - 1 leave exactly S / s places where s divides S: the grid of one big patch.
            layers += [
                nn.Conv2d(before, min(dim, width), 2 * stride - 1, stride=stride, padding=stride - 1),
                nn.GroupNorm(8, min(dim, width)),
                nn.GELU(),
            ]
            before, width, patch_size, stride = min(dim, width), 2 * width, patch_size // stride, 2
        super().__init__(*layers, nn.Conv2d(before, dim, 1))
        self.channels_last = channels_last

    @property
    def weight(self) -> Tensor:
        """Of the first convolution; CLIP asks its patch embedding for a dtype by this name."""
        return self[0].weight  # type: ignore[return-value]

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, D, s, s), or (B, s, s, D) where ``channels_last`` (SAM's order)."""
        features: Tensor = super().forward(pixels)  # type: ignore[no-untyped-call]
        return features.permute(0, 2, 3, 1) if self.channels_last else features


def _vit(sam: dict[str, Any]) -> ImageEncoderViT:
    """SAM's own image encoder."""
    encoder = ImageEncoderViT(
        img_size=sam["image_size"],
        patch_size=sam["patch_size"],
        embed_dim=sam["embed_dim"],
        depth=sam["depth"],
        num_heads=sam["num_heads"],
        mlp_ratio=4,
        qkv_bias=True,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=sam["window_size"],
        global_attn_indexes=tuple(sam["global_attn_indexes"]),
        out_chans=sam["prompt_dim"],
    )
    if sam["conv_stem"]:
        encoder.patch_embed = ConvStem(sam["embed_dim"], sam["patch_size"], channels_last=True)
    return encoder


class Segmenter(nn.Module):
    """Image encoder, prompt encoder and mask decoder of Segment Anything.

    The decoder's own ``forward`` repeats every image for every prompt (B x B masks); a batch of images with one
    prompt each needs the same parts put together differently, which is all this class does.
    """

    def __init__(self, sam: dict[str, Any]) -> None:
        super().__init__()
        grid = sam["image_size"] // sam["patch_size"]
        dim = sam["prompt_dim"]
        self.image_size: int = sam["image_size"]
        # SAM's mask prompt and its mask logits have four pixels along a side for each image embedding.
        self.prompt_size = 4 * grid
        sizes = sam.get("pretrained_pair")
        self.image_encoder: Any = MobileEncoder(sizes, dim) if sizes else _vit(sam)
        self.prompt_encoder = PromptEncoder(
            embed_dim=dim,
            image_embedding_size=(grid, grid),
            input_image_size=(sam["image_size"], sam["image_size"]),
            mask_in_chans=sam["mask_in_chans"],
        )
        self.mask_decoder = MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=sam["decoder_depth"],
                embedding_dim=dim,
                mlp_dim=sam["decoder_mlp_dim"],
                num_heads=sam["decoder_heads"],
            ),
            transformer_dim=dim,
            iou_head_depth=3,
            iou_head_hidden_dim=dim,
        )
        self.fusion = FeatureFusion(self.image_encoder.levels, dim) if sizes else None

    @property
    def encoding_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns of what :meth:`encode` gives of one image."""
        channels = int(self.prompt_encoder.embed_dim if self.fusion is None else self.image_encoder.channels)
        return channels, self.prompt_size // 4, self.prompt_size // 4

    def encode(self, pixels: Tensor) -> Tensor:
        """(B, 3, S, S) normalised pixels -> what the image encoder gives, (B, C, s, s), some images at a time.

        C is that of the image embeddings or, where features are fused, of all levels packed into one tensor.
        """
        pixels = pixels.to(next(self.image_encoder.parameters()).dtype)
        at_once = max(1, PIXELS_AT_ONCE // self.image_size**2)
        return torch.cat([self.image_encoder(part) for part in torch.split(pixels, at_once)])

    def positions(self) -> Tensor:
        """SAM's encoding of where each image embedding lies, (1, C, s, s) float32.

        As ``PromptEncoder.get_dense_pe``, which fails where the model's weights are not float32.
        """
        matrix = self.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix.float()
        side = self.prompt_size // 4
        # Of the centres of cells, and x before y below: the order of the matrix's two rows.
        centres = (torch.arange(side, device=matrix.device, dtype=torch.float32) + 0.5) / side
        down, across = torch.meshgrid(centres, centres, indexing="ij")
        with without_autocast(matrix.device):  # bfloat16 would leave two digits of a place
            angles = 2 * torch.pi * ((2 * torch.stack((across, down), dim=-1) - 1) @ matrix)
        return torch.cat((angles.sin(), angles.cos()), dim=-1).permute(2, 0, 1)[None]

    def decode(self, image_embeddings: Tensor, seg: Tensor, mask_prompt: Tensor | None) -> tuple[Tensor, Tensor]:
        """Single-mask output for each prompt; the n prompts of an image lie together.

        Args:
            image_embeddings: (B, C, s, s) of :meth:`encode`.
            seg: (B * n, D) sparse prompt, the projected ``[SEG]`` state.
            mask_prompt: (B * n, 1, 4s, 4s) dense prompt, or None for SAM's "no mask" embedding.

        Returns:
            Mask logits (B * n, 4s, 4s) in SAM's padded frame, and predicted IoU (B * n,).
        """
        # A frozen encoder may be held, or its output stored, in fewer bits than the decoder that is trained.
        image_embeddings = image_embeddings.to(self.mask_decoder.iou_token.weight.dtype)
        fine: Tensor | None = None
        if self.fusion is not None:
            image_embeddings, fine = self.fusion(image_embeddings)  # once an image, however many prompts
        prompts = len(seg) // len(image_embeddings)
        if prompts > 1:
            image_embeddings = image_embeddings.repeat_interleave(prompts, 0)
            fine = None if fine is None else fine.repeat_interleave(prompts, 0)
        batch, channels, height, width = image_embeddings.shape
        if mask_prompt is None:
            dense = self.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand(batch, -1, height, width)
        else:
            prompting = self.prompt_encoder.mask_downscaling
            dense = prompting(mask_prompt.to(prompting[0].weight.dtype)).to(image_embeddings.dtype)
        decoder = self.mask_decoder
        output = torch.cat((decoder.iou_token.weight, decoder.mask_tokens.weight))
        tokens = torch.cat((output.expand(batch, -1, -1), seg[:, None].to(output.dtype)), dim=1)
        positions = self.positions().to(image_embeddings.dtype).expand(batch, -1, -1, -1)
        states, features = decoder.transformer(image_embeddings + dense, positions, tokens)
        upscaled = decoder.output_upscaling(features.transpose(1, 2).reshape(batch, channels, height, width))
        if fine is not None:
            upscaled = upscaled + fine
        # State 0 is the IoU token's, state 1 that of the first mask token: SAM's answer where one mask is asked for.
        # The three tokens for several masks are read all the same, since the others attend to them.
        weights = decoder.output_hypernetworks_mlps[0](states[:, 1])
        logits = torch.einsum("bc,bchw->bhw", weights, upscaled)
        return logits, decoder.iou_prediction_head(states[:, 0])[:, 0]
