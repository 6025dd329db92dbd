# the baseline of both methods: plain L2 on final features, CLIP ViT-B/16 -> Adventurer-B
_base_ = ['./linearizer_adventurer-base_in1k-224.py']
model = dict(
    mask_ratio=0.,
    objectives=dict(
        activation=None,
        mask=None,
        feature=dict(type='mmvitlin.FeatureAlignmentLoss', normalize_target=True)))
