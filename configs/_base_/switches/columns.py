# a switch: an Adventurer that scans along columns as well as rows, in the distillation and in what
# starts from it: small ones with labels only were 2 to 3 points better on whole images
# (docs/results/camvid_lengths.json); no published weights scan so
model = dict(backbone=dict(scan_axes='alternate'))
