"""The commands of split inference, and the device's part of it: the head of a model, which packs activations."""
