"""EIT (arXiv 2203.07116) in PyTorch, since timm has none: the second part of the peer's script, after pytorch.py.

Written from the description of the model; names in the state dict are the authors'. `eit` says which EIT.
Initial values are PyTorch's own: speed does not depend on them.
"""

from collections import OrderedDict

import torch
from torch import nn

EPS = 1e-6


class OverlappingPatches(nn.Module):
    """`k/s/p`: a k x k convolution with stride s, then max pooling over p x p."""

    def __init__(self, channels, overlap):
        super().__init__()
        kernel = overlap["kernel"]
        self.conv = nn.Conv2d(3, channels, kernel, overlap["stride"], padding=kernel // 2)
        self.pool = nn.MaxPool2d(overlap["pool"])

    def forward(self, images):
        return self.pool(self.conv(images))


class PatchEmbed(nn.Module):
    """Images to tokens, [batch, rows * cols, channels], and their grid; without `overlap` by ViT's patches."""

    def __init__(self, channels, overlap, patch):
        super().__init__()
        if overlap:
            self.eit_p = OverlappingPatches(channels, overlap)
        else:
            self.proj = nn.Conv2d(3, channels, patch, patch)

    def forward(self, images):
        # Tokens have their channels last; a convolution and a pooling that keep to it are faster and need no copy after.
        images = images.contiguous(memory_format=torch.channels_last)
        patches = self.eit_p(images) if hasattr(self, "eit_p") else self.proj(images)
        return patches.flatten(2).transpose(1, 2), patches.shape[2:]


class Attention(nn.Module):
    def __init__(self, channels, heads, qkv_bias):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x):
        batch, tokens, channels = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, channels // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        x = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, channels))


class DepthwiseConv(nn.Module):
    """3 x 3 over the patches; the class token passes through as it is."""

    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)

    def forward(self, x, grid):
        token, patches = x[:, :1], x[:, 1:]
        patches = self.conv1(patches.transpose(1, 2).unflatten(2, grid))
        return torch.cat([token, patches.flatten(2).transpose(1, 2)], dim=1)


class Mlp(nn.Module):
    def __init__(self, channels, hidden):
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """A ViT block whose first `conv` channels are convolved where the others attend; with none, a ViT block."""

    def __init__(self, channels, attention, conv):
        super().__init__()
        self.conv = conv
        self.norm1 = nn.LayerNorm(channels, eps=EPS)
        self.attn = Attention(channels - conv, attention["heads"], attention["qkv_bias"])
        if conv:
            self.eit_t = DepthwiseConv(conv)
        self.norm2 = nn.LayerNorm(channels, eps=EPS)
        self.mlp = Mlp(channels, int(attention["mlp_ratio"] * channels))

    def forward(self, x, grid):
        x = x + self.mix(self.norm1(x), grid)
        return x + self.mlp(self.norm2(x))

    def mix(self, x, grid):
        if not self.conv:
            return self.attn(x)
        first, rest = x[..., : self.conv], x[..., self.conv :]
        return torch.cat([self.eit_t(first, grid), self.attn(rest)], dim=-1)


class Eit(nn.Module):
    def __init__(self, spec, eit):
        super().__init__()
        channels = spec["embed_dim"]
        overlap, width = eit["overlap"], eit["representation"]
        self.patch_embed = PatchEmbed(channels, overlap, spec["patch"])
        self.cls_token = nn.Parameter(torch.zeros(1, 1, channels))
        self.pos_embed = None
        if eit["position_embedding"]:
            tokens = 1 + self.patch_embed(torch.zeros(1, 3, *spec["image"]))[0].shape[1]
            self.pos_embed = nn.Parameter(torch.zeros(1, tokens, channels))
        self.blocks = nn.ModuleList(Block(channels, eit["attention"], conv) for conv in eit["conv_channels"])
        self.norm = nn.LayerNorm(channels, eps=EPS)
        self.pre_logits = nn.Identity()
        if width:
            layers = OrderedDict(fc=nn.Linear(channels, width), act=nn.Tanh())
            self.pre_logits = nn.Sequential(layers)
        self.head = nn.Linear(width or channels, spec["classes"])

    def no_weight_decay(self):
        """timm's rule, which the other side uses too; the authors let both decay."""
        return {"cls_token", "pos_embed"}

    def forward(self, images):
        x, grid = self.patch_embed(images)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        if self.pos_embed is not None:
            x = x + self.pos_embed
        for block in self.blocks:
            x = block(x, grid)
        return self.head(self.pre_logits(self.norm(x)[:, 0]))
