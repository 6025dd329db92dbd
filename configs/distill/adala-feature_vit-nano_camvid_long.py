# feature alignment alone, from the teacher's weights, for as many iterations as both stages
_base_ = ['./adala-attention_vit-nano_camvid_long.py']
model = dict(type='mmvitlin.FeatureAlignment', inherit=True)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_dataloader = dict(sampler=dict(salt=2))
