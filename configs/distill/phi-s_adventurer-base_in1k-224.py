# Features of CLIP ViT-B/16 at four depths, standardised by PHI-S, into Adventurer-B on ImageNet's
# images
#   tools/dist_train.sh configs/distill/phi-s_adventurer-base_in1k-224.py 8 --amp
# Published: targets standardised by PHI-S (arXiv 2410.01680); features of several layers, each
#   through a linear layer of its own (FitNets, arXiv 1412.6550).
# Ours: the two together, the four depths, 16 batches for the statistics; student, teacher, schedule
#   and images of linearizer_adventurer-base_in1k-224.py. docs/results/pretrained_camvid.json has
#   it ahead of plain L2, with a ViT-S and an Adventurer-T.
_base_ = ['./linearizer_adventurer-base_in1k-224.py']
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
