# a switch: Muon for matrices, AdamW for everything else, instead of a config's AdamW. Rate and
# decay are those that IronViT takes for ViT-AdaLA's first stage under Muon. There 1e-2 did better
# than 3e-3, and worse than AdamW at 1e-3 (docs/results/alignment_rates.json).
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='mmvitlin.MuonWithAdamW', lr=1e-2, weight_decay=0.05,
        adamw=dict(lr=4e-4, weight_decay=0.)))
