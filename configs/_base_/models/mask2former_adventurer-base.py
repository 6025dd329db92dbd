# Mask2Former on a SimpleFPN over four depths of Adventurer-B; needs make setup-full
_base_ = ['./upernet_adventurer-base.py', './mask2former_parts.py']
class_count = 19
model = dict(
    neck=dict(out_channels=None),
    decode_head=dict(
        _delete_=True,
        type='mmvitlin.Mask2FormerHead',
        in_channels=[768, 768, 768, 768],
        strides=[4, 8, 16, 32],
        feat_channels=256,
        out_channels=256,
        num_classes=class_count,
        num_queries=100,
        num_transformer_feat_level=3,
        align_corners=False,
        pixel_decoder={{_base_.pixel_decoder}},
        enforce_decoder_input_project=False,
        positional_encoding={{_base_.position}},
        transformer_decoder={{_base_.transformer_decoder}},
        loss_cls=dict(
            type='mmdet.CrossEntropyLoss', use_sigmoid=False, loss_weight=2.0, reduction='mean',
            class_weight=[1.0] * class_count + [0.1]),
        loss_mask={{_base_.loss_mask}},
        loss_dice={{_base_.loss_dice}},
        train_cfg={{_base_.matching}}),
    auxiliary_head=None)
