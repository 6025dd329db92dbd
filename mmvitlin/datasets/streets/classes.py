"""Cityscapes classes: train id, name, label id of the original files, things."""

NAMES = ('road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'traffic sign',
         'vegetation', 'terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'train',
         'motorcycle', 'bicycle')
LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
TRAIN_ID = {name: i for i, name in enumerate(NAMES)}
THINGS = NAMES[11:]
IGNORED = 255
# single objects for classification
OBJECTS = ('bicycle', 'bus', 'car', 'motorcycle', 'person', 'traffic light', 'traffic sign',
           'train', 'tree', 'truck')
