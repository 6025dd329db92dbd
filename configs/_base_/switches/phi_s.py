# a switch: features at four depths, standardised by PHI-S, instead of ViT-Linearizer's objectives,
# nothing masked
model = dict(
    mask_ratio=0.,
    objectives=dict(
        activation=None,
        mask=None,
        feature=dict(
            type='mmvitlin.FeatureAlignmentLoss',
            layers=[0.25, 0.5, 0.75, 1.0],
            projector='linear',
            normalize_target=dict(type='phi_s', num_batches=16))))
