"""Boxes of objects: COCO or VOC files to a Faster R-CNN, scored and reported."""
