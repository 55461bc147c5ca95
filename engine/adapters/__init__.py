"""LoRA files on UNets and text encoders: read, matched by name, applied beside the base weights.

Torch-free as far as planning goes: `lora_keys`, `lora_shapes` and `lora_info`.
"""
