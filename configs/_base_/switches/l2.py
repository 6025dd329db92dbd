# a switch: plain L2 on final features instead of ViT-Linearizer's objectives, nothing masked
model = dict(
    mask_ratio=0.,
    objectives=dict(
        activation=None,
        mask=None,
        feature=dict(type='mmvitlin.FeatureAlignmentLoss', normalize_target=True)))
