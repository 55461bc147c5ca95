"""Reference-only attention in a UNet, row by row."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from engine.reference import (
    STYLE_GUIDANCE,
    ReferenceRows,
    reading,
    reference_noise,
    unconditional_share,
)

SIDE = 12  # not a power of two: 12 and 6 cells a side


@pytest.fixture(scope="module")
def unet(tiny_root: Path) -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(tiny_root / "four" / "unet").eval()


@pytest.fixture
def sample() -> torch.Tensor:
    """Four rows; nothing is alike in them."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 4, SIDE, SIDE, generator=generator)


@torch.inference_mode()
def forward(
    unet: UNet2DConditionModel, sample: torch.Tensor, rows: ReferenceRows | None = None
) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    prompt_embeds = torch.randn(1, 77, 32, generator=generator).expand(len(sample), -1, -1)
    with reading(unet, rows):
        output: torch.Tensor = unet(sample, 500, prompt_embeds, return_dict=False)[0]
    return output


def everywhere(count: int = 1) -> torch.Tensor:
    return torch.ones(count, 1, SIDE, SIDE)


def test_a_row_changes_with_what_it_reads(unet, sample):
    plain = forward(unet, sample)
    first = forward(unet, sample, ReferenceRows([0], [2], [1.0], everywhere()))
    second = forward(unet, sample, ReferenceRows([0], [3], [1.0], everywhere()))
    for one, other in ((plain, first), (plain, second), (first, second)):
        assert (one[0] - other[0]).abs().max() > 1e-3


def test_every_other_row_stays_as_it_is_to_the_bit(unet, sample):
    plain = forward(unet, sample)
    read = forward(unet, sample, ReferenceRows([1], [3], [1.0], everywhere()))
    assert torch.equal(read[[0, 2, 3]], plain[[0, 2, 3]])


def test_a_row_where_every_cell_is_kept_stays_as_it_is(unet, sample):
    rows = ReferenceRows([0], [2], [1.0], torch.zeros(1, 1, SIDE, SIDE))
    assert torch.equal(forward(unet, sample, rows), forward(unet, sample))


def test_a_row_that_takes_nothing_of_what_it_reads_stays_as_it_is(unet, sample):
    rows = ReferenceRows([0], [2], [0.0], everywhere())
    assert torch.equal(forward(unet, sample, rows), forward(unet, sample))


def test_the_share_tells_how_much_of_the_reference_a_row_takes(unet, sample):
    plain = forward(unet, sample)
    changes = [
        (forward(unet, sample, ReferenceRows([0], [2], [share], everywhere())) - plain).norm()
        for share in (0.25, 0.5, 1.0)
    ]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_a_row_that_reads_itself_finds_nothing_new(unet, sample):
    twice = sample[[0, 0]]
    read = forward(unet, twice, ReferenceRows([0], [1], [1.0], everywhere()))
    torch.testing.assert_close(read, forward(unet, twice), atol=1e-5, rtol=0)


def test_a_reader_named_twice_reads_once(unet, sample):
    once = forward(unet, sample, ReferenceRows([0], [2], [1.0], everywhere()))
    rows = ReferenceRows([0, 0], [2, 2], [1.0, 1.0], everywhere(2))
    torch.testing.assert_close(forward(unet, sample, rows), once, atol=1e-6, rtol=0)


def test_two_rows_may_read_one_reference_and_two_others(unet, sample):
    rows = ReferenceRows([0, 1, 3], [2, 2, 1], [1.0, 0.5, 1.0], everywhere(3))
    together = forward(unet, sample, rows)
    for reader, reference, share in ((0, 2, 1.0), (1, 2, 0.5)):
        alone = forward(unet, sample, ReferenceRows([reader], [reference], [share], everywhere()))
        torch.testing.assert_close(together[reader], alone[reader], atol=1e-5, rtol=0)


def test_kept_tokens_attend_as_ever_and_painted_ones_do_not(unet):
    """Seen at one attention alone: further down kept cells see painted ones."""
    attention = unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1
    generator = torch.Generator().manual_seed(2)
    hidden_states = torch.randn(2, SIDE * SIDE, 32, generator=generator)
    mask = everywhere()
    mask[..., : SIDE // 2] = 0
    rows = ReferenceRows([0], [1], [1.0], mask)
    with torch.inference_mode():
        plain = attention(hidden_states)
        with reading(unet, rows):
            read = attention(hidden_states)
    is_kept = mask[0].flatten() == 0
    torch.testing.assert_close(read[0, is_kept], plain[0, is_kept], atol=1e-6, rtol=0)
    assert ((read - plain)[0, ~is_kept].abs().amax(dim=-1) > 1e-4).all()


@pytest.mark.parametrize(("height", "width"), [(5, 7), (8, 8), (3, 1)])
def test_a_token_of_a_lower_resolution_is_painted_if_any_part_of_it_is(height, width):
    mask = torch.zeros(1, 1, height, width)
    mask[0, 0, height - 1, width - 1] = 1
    rows = ReferenceRows([0], [1], [1.0], mask)
    halves = -(-height // 2), -(-width // 2)
    assert rows.painted(height * width).flatten().tolist() == (mask.flatten() > 0).tolist()
    coarse = rows.painted(halves[0] * halves[1]).flatten().tolist()
    assert coarse == [False] * (halves[0] * halves[1] - 1) + [True]


def test_afterwards_the_unet_has_its_own_processors_whatever_happened(unet):
    before = dict(unet.attn_processors)
    rows = ReferenceRows([0], [1], [1.0], everywhere())
    with pytest.raises(RuntimeError, match="stopped"), reading(unet, rows):
        raise RuntimeError("stopped")
    after = unet.attn_processors
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)


def test_without_rows_nothing_is_put_on(unet):
    before = dict(unet.attn_processors)
    with reading(unet, None):
        within = unet.attn_processors
    assert all(within[name] is before[name] for name in before)


def test_only_self_attentions_read(unet):
    before = dict(unet.attn_processors)
    with reading(unet, ReferenceRows([0], [1], [1.0], everywhere())):
        within = unet.attn_processors
    changed = {name for name in before if within[name] is not before[name]}
    assert changed == {name for name in before if ".attn1." in name}
    assert changed


def test_a_forward_on_another_thread_reads_nothing(unet, sample):
    plain = forward(unet, sample)
    found: list[torch.Tensor] = []
    with reading(unet, ReferenceRows([0], [2], [1.0], everywhere())):
        thread = threading.Thread(target=lambda: found.append(forward(unet, sample)))
        thread.start()
        thread.join()
    assert torch.equal(found[0], plain)


def test_a_flat_reference_gives_finite_numbers(unet, sample):
    sample[2] = 0
    for mask in (everywhere(), torch.zeros(1, 1, SIDE, SIDE)):
        output = forward(unet, sample, ReferenceRows([0], [2], [1.0], mask))
        assert torch.isfinite(output).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_in_its_dtype(unet, dtype):
    narrow = UNet2DConditionModel.from_config(unet.config)
    narrow.load_state_dict(unet.state_dict())
    rows = ReferenceRows([0], [2], [1.0], everywhere())
    attention = narrow.to(dtype).down_blocks[1].attentions[0].transformer_blocks[0].attn1
    hidden_states = torch.randn(3, SIDE * SIDE, 32, generator=torch.Generator().manual_seed(3))
    own = unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1
    with torch.inference_mode():
        with reading(narrow, rows):
            output = attention(hidden_states.to(dtype))
        with reading(unet, rows):
            expected = own(hidden_states)
    assert output.dtype is dtype
    torch.testing.assert_close(output.float(), expected, atol=0.03, rtol=0.03)


def test_a_seed_has_one_noise_for_its_reference_and_it_is_not_the_images_own():
    shape = (1, 4, 8, 8)
    noise = reference_noise(7, shape)
    assert torch.equal(noise, reference_noise(7, shape))
    assert not torch.equal(noise, reference_noise(8, shape))
    own = torch.randn(shape, generator=torch.Generator().manual_seed(7))
    assert abs(torch.corrcoef(torch.stack([noise.flatten(), own.flatten()]))[0, 1]) < 0.3
    assert abs(noise.std() - 1) < 0.2


@pytest.mark.parametrize("guidance_scale", [2.0, 3.0, 7.5, 30.0])
def test_guidance_multiplies_what_is_read_by_the_same_at_every_scale(guidance_scale):
    """The conditional row is changed by 1, the unconditional one by its share."""
    share = unconditional_share(guidance_scale)
    assert 0 <= share < 1
    assert share + guidance_scale * (1 - share) == pytest.approx(STYLE_GUIDANCE)


def test_little_guidance_multiplies_by_itself():
    assert unconditional_share(1.5) == 0.0
