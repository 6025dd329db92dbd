"""Vision towers of other libraries in timm's names."""
from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_HF_BLOCK = {  # CLIP and SigLIP
    'layer_norm1': 'norm1', 'layer_norm2': 'norm2', 'mlp.fc1': 'mlp.fc1', 'mlp.fc2': 'mlp.fc2',
    'self_attn.out_proj': 'attn.proj', 'self_attn.q_proj': 'attn.q', 'self_attn.k_proj': 'attn.k',
    'self_attn.v_proj': 'attn.v'}
_HF_ATTENTION = {
    'attention.output.dense': 'attn.proj', 'attention.attention.query': 'attn.q',
    'attention.attention.key': 'attn.k', 'attention.attention.value': 'attn.v',
    # of transformers 5 in memory, and so in state dicts and ONNX files
    'attention.o_proj': 'attn.proj', 'attention.q_proj': 'attn.q', 'attention.k_proj': 'attn.k',
    'attention.v_proj': 'attn.v'}
_HF_VIT_BLOCK = {
    **_HF_ATTENTION, 'layernorm_before': 'norm1', 'layernorm_after': 'norm2',
    'intermediate.dense': 'mlp.fc1', 'output.dense': 'mlp.fc2', 'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2'}
_HF_DINOV2_BLOCK = {
    **_HF_ATTENTION, 'norm1': 'norm1', 'norm2': 'norm2', 'mlp.fc1': 'mlp.fc1',
    'mlp.fc2': 'mlp.fc2', 'mlp.weights_in': 'mlp.w12', 'mlp.weights_out': 'mlp.w3',
    'layer_scale1.lambda1': 'ls1.gamma', 'layer_scale2.lambda1': 'ls2.gamma'}
_HF_VIT = {'embeddings.cls_token': 'cls_token', 'embeddings.position_embeddings': 'pos_embed',
           'embeddings.patch_embeddings.projection': 'patch_embed.proj', 'layernorm': 'norm'}
_MMPRETRAIN_BLOCK = {
    'ln1': 'norm1', 'ln2': 'norm2', 'attn.qkv': 'attn.qkv', 'attn.proj': 'attn.proj',
    'ffn.layers.0.0': 'mlp.fc1', 'ffn.layers.1': 'mlp.fc2', 'attn.gamma1.weight': 'ls1.gamma',
    'ffn.gamma2.weight': 'ls2.gamma'}

# kind → (a key that identifies it, start of a block, its parts, everything else)
_LAYOUTS: dict[str, tuple[str, str, dict[str, str], dict[str, str]]] = {
    'Hugging Face CLIP': (
        'vision_model.pre_layrnorm.weight', r'vision_model\.encoder\.layers\.(\d+)\.', _HF_BLOCK,
        {'vision_model.embeddings.class_embedding': 'cls_token',
         'vision_model.embeddings.cls_token': 'cls_token',  # both out of ONNX files
         'vision_model.embeddings.position_embeddings': 'pos_embed',
         'vision_model.embeddings.patch_embedding': 'patch_embed.proj',
         'vision_model.embeddings.position_embedding.weight': 'pos_embed',
         'vision_model.pre_layrnorm': 'norm_pre', 'vision_model.post_layernorm': 'norm'}),
    'Hugging Face SigLIP': (
        'vision_model.post_layernorm.weight', r'vision_model\.encoder\.layers\.(\d+)\.', _HF_BLOCK,
        {'vision_model.embeddings.patch_embedding': 'patch_embed.proj',
         'vision_model.embeddings.position_embedding.weight': 'pos_embed',
         'vision_model.embeddings.position_embeddings': 'pos_embed',
         'vision_model.post_layernorm': 'norm'}),
    'Hugging Face DINOv2': (
        'encoder.layer.0.layer_scale1.lambda1', r'encoder\.layer\.(\d+)\.', _HF_DINOV2_BLOCK,
        {'embeddings.cls_token': 'cls_token', 'embeddings.mask_token': 'mask_token',
         'embeddings.register_tokens': 'register_tokens',
         'embeddings.position_embeddings': 'pos_embed',
         'embeddings.patch_embeddings.projection': 'patch_embed.proj', 'layernorm': 'norm'}),
    'Hugging Face ViT': (
        'encoder.layer.0.layernorm_before.weight', r'encoder\.layer\.(\d+)\.', _HF_VIT_BLOCK,
        _HF_VIT),
    'Hugging Face ViT of transformers 5': (
        'layers.0.layernorm_before.weight', r'layers\.(\d+)\.', _HF_VIT_BLOCK, _HF_VIT),
    'mmpretrain ViT': (
        'layers.0.ffn.layers.0.0.weight', r'layers\.(\d+)\.', _MMPRETRAIN_BLOCK,
        {'cls_token': 'cls_token', 'pos_embed': 'pos_embed', 'pre_norm': 'norm_pre',
         'patch_embed.projection': 'patch_embed.proj', 'ln1': 'norm'}),
}
_TOWERS = ('vit.', 'dinov2.', 'dinov2_with_registers.', 'clip.', 'siglip.')


def layout_of(state: Mapping[str, Tensor]) -> str | None:
    """The layout of the names, or None for timm's, the original authors' or unknown ones."""
    state = _without_tower(state)
    return next((kind for kind, (mark, *_) in _LAYOUTS.items() if mark in state), None)


def to_timm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of a known layout in timm's (or DINOv2's own) names; others as they are.

    Text towers, poolers and heads are left out; separate queries, keys and values joined.
    """
    kind = layout_of(state)
    if kind is None:
        return dict(state)
    _, start, parts, rest = _LAYOUTS[kind]
    mapped: dict[str, Tensor] = {}
    for key, value in _without_tower(state).items():
        block = re.match(start, key)
        tail = key[block.end():] if block else key
        renamed = _rename(tail, parts if block else rest)
        if renamed is not None:
            mapped[f'blocks.{block[1]}.{renamed}' if block else renamed] = value
    for name in [n for n in mapped if '.attn.q.' in n]:
        q, k, v = (mapped.pop(name.replace('.attn.q.', f'.attn.{p}.')) for p in 'qkv')
        mapped[name.replace('.attn.q.', '.attn.qkv.')] = torch.cat([q, k, v])
    if kind == 'Hugging Face DINOv2' and 'cls_token' in mapped:
        # timm recognises DINOv2 by its mask token, which an ONNX file lacks
        mapped.setdefault('mask_token', torch.zeros_like(mapped['cls_token']))
    for name in ('cls_token', 'pos_embed'):
        if name in mapped:
            width = mapped[name].shape[-1]
            mapped[name] = mapped[name].reshape(1, -1, width)
    return mapped


def _without_tower(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    inside = ('encoder.', 'vision_model.', 'layers.')
    tower = next((t for t in _TOWERS if any(k.startswith(tuple(t + name for name in inside))
                                            for k in state)), '')
    state = {k.removeprefix(tower): v for k, v in state.items() if k.startswith(tower)}
    if 'encoder.layers.0.self_attn.q_proj.weight' in state:  # transformers 5, of a tower alone
        state = {f'vision_model.{k}': v for k, v in state.items()}
    return state


def _rename(key: str, names: Mapping[str, str]) -> str | None:
    for name in sorted(names, key=len, reverse=True):
        if key == name or key.startswith(f'{name}.'):
            return names[name] + key[len(name):]
    return None
