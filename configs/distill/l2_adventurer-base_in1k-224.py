# The baseline: plain L2 on final features, CLIP ViT-B/16 into Adventurer-B on ImageNet's images
# Published: the loss: L2 on final tokens (GTR, arXiv 2609.26590).
# Ours: its student and teacher here are those of ViT-Linearizer, so that losses are compared;
#   targets are layer-normed, as there; schedule and images of
#   linearizer_adventurer-base_in1k-224.py.
_base_ = ['./linearizer_adventurer-base_in1k-224.py']
model = dict(
    mask_ratio=0.,
    objectives=dict(
        activation=None,
        mask=None,
        feature=dict(type='mmvitlin.FeatureAlignmentLoss', normalize_target=True)))
