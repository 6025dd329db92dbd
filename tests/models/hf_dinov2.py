"""A small Vision Transformer whose modules are called as in Hugging Face's Dinov2Model, written
here from its names, and exported to ONNX as that one is."""
import math
import warnings

import torch
import torch.nn as nn
import torch.nn.functional as F

WIDTH, DEPTH, HEADS, PATCH, SIDE = 48, 2, 3, 16, 4


class LayerScale(nn.Module):
    def __init__(self):
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return x * self.lambda1


class Heads(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH, bias) for _ in range(3))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
                   for f in (self.query, self.key, self.value))
        weights = (q @ k.transpose(-1, -2) / math.sqrt(WIDTH / HEADS)).softmax(-1)
        return (weights @ v).transpose(1, 2).flatten(2)


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return self.dense(x)


class Attention(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.attention, self.output = Heads(bias), Dense()

    def forward(self, x):
        return self.output(self.attention(x))


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.attention, self.mlp = Attention(bias), MLP()
        self.layer_scale1, self.layer_scale2 = LayerScale(), LayerScale()

    def forward(self, x):
        x = x + self.layer_scale1(self.attention(self.norm1(x)))
        return x + self.layer_scale2(self.mlp(self.norm2(x)))


class Patches(nn.Module):
    def __init__(self):
        super().__init__()
        self.projection = nn.Conv2d(3, WIDTH, PATCH, PATCH)

    def forward(self, x):
        return self.projection(x).flatten(2).transpose(1, 2)


class Embeddings(nn.Module):
    def __init__(self, resizes):
        super().__init__()
        self.resizes = resizes
        self.cls_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.position_embeddings = nn.Parameter(torch.zeros(1, SIDE**2 + 1, WIDTH))
        self.patch_embeddings = Patches()

    def forward(self, images):
        x = self.patch_embeddings(images)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        if not self.resizes:
            return x + self.position_embeddings
        cls, patches = self.position_embeddings[:, :1], self.position_embeddings[:, 1:]
        grid = patches.reshape(1, SIDE, SIDE, WIDTH).permute(0, 3, 1, 2)
        size = tuple(side // PATCH for side in images.shape[-2:])
        grid = F.interpolate(grid, size, mode='bicubic', align_corners=False)
        return x + torch.cat([cls, grid.permute(0, 2, 3, 1).reshape(1, -1, WIDTH)], dim=1)


class Encoder(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.layer = nn.ModuleList(Block(bias) for _ in range(DEPTH))

    def forward(self, x):
        for layer in self.layer:
            x = layer(x)
        return x


class Dinov2(nn.Module):
    """Tokens (B, 1 + L, 48) of images (B, 3, H, W).

    Args:
        bias: Whether queries, keys and values have one.
        resizes: Whether its graph interpolates positions to the image's grid.
    """

    def __init__(self, bias=True, resizes=True):
        super().__init__()
        self.embeddings, self.encoder = Embeddings(resizes), Encoder(bias)
        self.layernorm = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, images):
        return self.layernorm(self.encoder(self.embeddings(images)))


class Saliency(nn.Module):
    """A backbone with a head, as such files have it."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone, self.decoder = backbone, nn.Conv1d(WIDTH, 1, 1)

    def forward(self, images):
        tokens = self.backbone(images)
        tokens = getattr(tokens, 'last_hidden_state', tokens)
        return tokens, self.decoder(tokens[:, 1:].transpose(1, 2))


def drawn(net, seed=1):
    """With weights that every part of the network can be seen through."""
    torch.manual_seed(seed)
    for name, p in net.named_parameters():
        centre = float(p.ndim == 1 and ('norm' in name or 'ln' in name) and name.endswith('weight'))
        nn.init.normal_(p, centre, 0.2)
    net.eval()  # mmpretrain's gives nothing back
    return net


def export(net, path, dynamo=False):
    """Write a network as ONNX by torch's exporter of either kind."""
    images = torch.zeros(1, 3, SIDE * PATCH, SIDE * PATCH)
    more = {} if dynamo else dict(opset_version=17, dynamic_axes={'images': {0: 'b', 2: 'h',
                                                                             3: 'w'}})
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of the tracing exporter, deprecated and still used
        torch.onnx.export(net, (images, ), str(path), dynamo=dynamo, input_names=['images'],
                          verbose=False, **more)
    return path
