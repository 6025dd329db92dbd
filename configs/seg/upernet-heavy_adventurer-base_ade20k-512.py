# ADE20K: UPerNet 512 channels wide, as it was published beside plain ViTs, on a distilled
# Adventurer-B; for comparisons with published numbers
# Published: UPerNet with 512 channels, as beside plain ViTs; else as
#   upernet_adventurer-base_ade20k-512.py.
# Ours: SimpleFPN over four depths; the rest as upernet_adventurer-base_ade20k-512.py has it, but
#   for its narrow head.
_base_ = ['./upernet_adventurer-base_ade20k-512.py']
model = dict(
    neck=dict(out_channels=None),
    decode_head=dict(in_channels=[768, 768, 768, 768], channels=512),
    auxiliary_head=dict(in_channels=768, channels=256))
