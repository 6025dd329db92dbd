# a switch: focal attention instead of linear attention, in both stages of ViT-AdaLA and in
# what starts from them; softmax to the patches around and to means of the rest, no new weights.
# Stage 1 with optim_wrapper.optimizer.lr=5e-5, since it starts near its goal.
order = 2  # after softmax, whose weights it takes
model = dict(backbone=dict(attention='focal'))
