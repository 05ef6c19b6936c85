"""Fine-tuning a segmentation model on a few corrected slices."""
