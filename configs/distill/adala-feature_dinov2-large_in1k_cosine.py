# stage 2 with the weights of IronViT: cosine of class and patch tokens, smooth L1 of patches
_base_ = ['./adala-feature_dinov2-large_in1k.py']
model = dict(
    objectives=dict(
        cls=dict(type='mmvitlin.FeatureAlignmentLoss', distance='cosine', tokens='cls'),
        patches=dict(type='mmvitlin.FeatureAlignmentLoss', distance='cosine', tokens='patches',
                     loss_weight=0.9),
        size=dict(type='mmvitlin.FeatureAlignmentLoss', distance='smooth_l1', tokens='patches',
                  beta=1e-3, loss_weight=0.1)))
