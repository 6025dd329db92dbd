# The baseline: plain L2 on final features, small ViT into small Adventurer on CamVid's images
_base_ = ['./linearizer_adventurer-nano_camvid.py']
model = dict(
    mask_ratio=0.,
    objectives=dict(
        activation=None,
        mask=None,
        feature=dict(type='mmvitlin.FeatureAlignmentLoss', normalize_target=True)))
