# plain L2 on final features, nothing masked, as options of a config of ViT-Linearizer
plain_l2 = {
    'model.objectives.activation': None,
    'model.objectives.mask': None,
    'model.mask_ratio': 0.0,
    'model.objectives.feature.type': 'mmvitlin.FeatureAlignmentLoss',
    'model.objectives.feature.normalize_target': True,
}
