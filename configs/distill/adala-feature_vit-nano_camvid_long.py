# feature alignment alone, from the teacher's weights, for as many iterations as both stages
_base_ = ['./adala-attention_vit-nano_camvid_long.py']
model = dict(type='mmvitlin.FeatureAlignment', inherit=True)
