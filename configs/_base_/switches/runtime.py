# a switch: the hooks of every run of mmvitlin, for configs of other libraries; loaders that shuffle
# get seeded samplers, and workers that only their parent ends
_base_ = ['../default_runtime.py']
