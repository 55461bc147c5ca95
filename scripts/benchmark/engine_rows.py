"""The rows that are measured on the engine itself, without a server around it."""

from __future__ import annotations

from scripts.benchmark.exactness import base_weights, batched_and_solo
from scripts.benchmark.loop_cost import loop_cost
from scripts.benchmark.lora_memory import memory_growth
from scripts.benchmark.lora_switches import first_use, switch_in_memory
from scripts.benchmark.lora_throughput import alternating, mixed
from scripts.benchmark.repeats import repeated_image
from scripts.benchmark.result_files import png
from scripts.benchmark.route_flops import large_canvas
from scripts.benchmark.row import Row

ROWS = (
    Row(5, "batched result against its solo run, float32", batched_and_solo, "M"),
    Row(8, "loop cost a step beyond bare unet()", loop_cost, "T"),
    Row(9, "LoRA A to B, both in memory", switch_in_memory, "M"),
    Row(10, "LoRA first use from disk", first_use, "M"),
    Row(11, "throughput with another LoRA each request", alternating, "M"),
    Row(12, "8 LoRAs in one batch", mixed, "T and M"),
    Row(13, "base weights after 100 switches", base_weights, "T"),
    Row(16, "resident memory growth per 100 LoRA switches", memory_growth, "T"),
    Row(18, "2560x2560 PNG", png, "embedded"),
    Row(22, "repeat of image and mask with a new prompt", repeated_image, "M"),
    Row(23, "counted FLOPs of the 2560x2560 route", large_canvas, "SD 1.5"),
)
