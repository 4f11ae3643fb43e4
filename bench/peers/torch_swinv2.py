# SPDX-License-Identifier: Apache-2.0
"""SwinV2 in PyTorch, from the paper's formulas, as a user of PyTorch would have it: the yardstick for ours.

Image layout throughout; windows and shifts by roll and reshape; bias and mask as expanded tensors. Parameters carry
the official names, so that ours load. `mode` is "eager" (matmul, softmax, matmul) or "sdpa".
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class WindowAttention(nn.Module):
    """qkv (B, H, W, 3C), bias (heads, N, N), logit_scale (heads,) -> (B, H, W, C), as ours.

    The region mask is a constant. Mode "sdpa" takes bias and mask added up, over (windows * heads): no copy of it for
    every image, and the layout that PyTorch's fused CPU kernel accepts.
    """

    def __init__(self, size, heads, window, shift, mode="eager"):
        super().__init__()
        self.size, self.heads, self.window, self.shift, self.mode = size, heads, window, shift, mode
        self.side = size // window
        self.register_buffer("mask", torch.from_numpy(region_mask(size, window, shift)), persistent=False)

    def expand(self, bias):
        """The bias as `forward` takes it: (heads, N, N), or for SDPA with the mask (1, windows * heads, N, N)."""
        if self.mode == "eager":
            return bias
        return (bias[None] + self.mask[:, None]).flatten(0, 1)[None]

    def forward(self, qkv, bias, logit_scale):
        batch, tokens, windows = qkv.shape[0], self.window**2, self.side**2
        if self.shift:
            qkv = torch.roll(qkv, (-self.shift, -self.shift), (1, 2))
        x = qkv.reshape(batch, self.side, self.window, self.side, self.window, 3, self.heads, -1)
        x = x.permute(5, 0, 1, 3, 6, 2, 4, 7).reshape(3, batch, windows * self.heads, tokens, -1)
        q, k, v = x.unbind(0)
        scale = logit_scale.reshape(-1, 1, 1).clamp(max=math.log(100.0)).exp().repeat(windows, 1, 1)
        q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
        if self.mode == "sdpa":
            out = F.scaled_dot_product_attention(q * scale, k, v, attn_mask=bias, scale=1.0)
        else:
            logits = (q @ k.transpose(-2, -1) * scale).reshape(
                batch, windows, self.heads, tokens, tokens
            ) + bias
            if self.shift:
                logits = logits + self.mask[:, None]
            out = logits.softmax(-1).reshape(batch, windows * self.heads, tokens, tokens) @ v
        out = out.reshape(batch, self.side, self.side, self.heads, self.window, self.window, -1)
        out = out.permute(0, 1, 4, 2, 5, 3, 6).reshape(batch, self.size, self.size, -1)
        return torch.roll(out, (self.shift, self.shift), (1, 2)) if self.shift else out


def region_mask(size, window, shift):
    """(windows, N, N): -100 between tokens that the roll brought together from opposite borders."""
    band = np.zeros(size, np.int64)
    if shift:
        band[size - window : size - shift], band[size - shift :] = 1, 2
    region = 3 * band[:, None] + band[None, :]
    side = size // window
    region = region.reshape(side, window, side, window).swapaxes(1, 2).reshape(side * side, window * window)
    return np.where(region[:, :, None] != region[:, None, :], np.float32(-100), np.float32(0))


def relative_position_index(window):
    """(N*N,) int64 into the flattened (2w-1, 2w-1) table."""
    y, x = np.divmod(np.arange(window * window), window)
    dy, dx = (a[:, None] - a[None, :] + window - 1 for a in (y, x))
    return (dy * (2 * window - 1) + dx).reshape(-1)


def coordinates(window):
    """((2w-1)^2, 2) float32: offsets on the logarithmic scale of the paper's equation 4."""
    offset = 8 * np.arange(1 - window, window) / max(window - 1, 1)
    log = np.sign(offset) * np.log2(np.abs(offset) + 1) / 3
    return np.stack(np.meshgrid(log, log, indexing="ij"), -1).reshape(-1, 2).astype(np.float32)


class Attention(nn.Module):
    def __init__(self, channels, size, heads, window, shift, mode):
        super().__init__()
        self.logit_scale = nn.Parameter(torch.zeros(heads, 1, 1))
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(channels)), nn.Parameter(torch.zeros(channels))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, heads, bias=False))
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.proj = nn.Linear(channels, channels)
        self.core = WindowAttention(size, heads, window, shift, mode)
        self.tokens = window * window
        self.register_buffer("coordinates", torch.from_numpy(coordinates(window)), persistent=False)
        self.register_buffer("index", torch.from_numpy(relative_position_index(window)), persistent=False)
        self.cached = None

    def position_bias(self):
        table = 16 * torch.sigmoid(self.cpb_mlp(self.coordinates))
        bias = table[self.index].reshape(self.tokens, self.tokens, -1).permute(2, 0, 1).contiguous()
        return self.core.expand(bias)

    def forward(self, x):
        bias = self.position_bias() if self.cached is None else self.cached
        qkv = F.linear(
            x, self.qkv.weight, torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        )
        return self.proj(self.core(qkv, bias, self.logit_scale))


class Mlp(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, channels, *attention):
        super().__init__()
        self.attn, self.mlp = Attention(channels, *attention), Mlp(channels)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)

    def forward(self, x):
        x = x + self.norm1(self.attn(x))
        return x + self.norm2(self.mlp(x))


class PatchMerging(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.reduction, self.norm = (
            nn.Linear(4 * channels, 2 * channels, bias=False),
            nn.LayerNorm(2 * channels),
        )

    def forward(self, x):
        parts = x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]
        return self.norm(self.reduction(torch.cat(parts, -1)))


class PatchEmbed(nn.Module):
    def __init__(self, embed_dim):
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, embed_dim, 4, 4), nn.LayerNorm(embed_dim)

    def forward(self, x):
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class Stage(nn.Module):
    def __init__(self, blocks, downsample):
        super().__init__()
        self.blocks, self.downsample = nn.Sequential(*blocks), downsample

    def forward(self, x):
        x = self.blocks(x)
        return x if self.downsample is None else self.downsample(x)


class SwinTransformerV2(nn.Module):
    """SwinV2-T by default: images (B, 3, S, S) to logits. Drop path 0."""

    def __init__(self, window, mode="eager", image=256, embed_dim=96, depths=(2, 2, 6, 2), num_classes=1000):
        super().__init__()
        self.patch_embed = PatchEmbed(embed_dim)
        stages = []
        for number, depth in enumerate(depths):
            channels, size = embed_dim << number, image // 4 >> number
            w = min(window, size)
            shifts = [w // 2 if j % 2 and w < size else 0 for j in range(depth)]
            blocks = [Block(channels, size, channels // 32, w, shift, mode) for shift in shifts]
            stages.append(Stage(blocks, PatchMerging(channels) if number < len(depths) - 1 else None))
        self.layers = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(channels)
        self.head = nn.Linear(channels, num_classes)

    def forward(self, x):
        x = self.norm(self.layers(self.patch_embed(x)))
        return self.head(x.flatten(1, 2).mean(1))

    def load(self, values):
        """values: {official name: array}, norms as gamma and beta."""
        renamed = {
            name.replace(".gamma", ".weight").replace(".beta", ".bias"): torch.from_numpy(np.array(value))
            for name, value in values.items()
        }
        self.load_state_dict(renamed)
        return self

    def cache_bias(self):
        """Compute the position biases once, as for evaluation with fixed parameters."""
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, Attention):
                    module.cached = module.position_bias()
        return self
