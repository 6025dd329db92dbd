# a switch: an Adventurer that scans along columns as well as rows, in the distillation and in what
# starts from it: with labels only it was 2 to 3 points better on small networks
# (docs/results/camvid_lengths.json); no published weights scan so
model = dict(backbone=dict(scan_axes='alternate'))
