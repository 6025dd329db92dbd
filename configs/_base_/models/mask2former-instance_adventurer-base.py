# mask2former-panoptic_adventurer-base.py for things only
_base_ = ['./mask2former-panoptic_adventurer-base.py']
thing_count, stuff_count = 80, 0
model = dict(
    data_preprocessor=dict(
        pad_seg=False,
        batch_augments=[
            dict(type='BatchFixedSizePad', size=(1024, 1024), img_pad_value=0, pad_mask=True,
                 mask_pad_value=0, pad_seg=False)
        ]),
    panoptic_head=dict(
        num_things_classes=thing_count,
        num_stuff_classes=stuff_count,
        loss_cls=dict(class_weight=[1.0] * thing_count + [0.1])),
    panoptic_fusion_head=dict(num_things_classes=thing_count, num_stuff_classes=stuff_count),
    test_cfg=dict(panoptic_on=False))
