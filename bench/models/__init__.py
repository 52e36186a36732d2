"""Models: every timm architecture by its name, and the CIFAR families of the papers in timm's own registry."""
