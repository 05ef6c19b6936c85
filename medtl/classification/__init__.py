"""Classification: a volume and a model in, the probability of each tumour class out."""
