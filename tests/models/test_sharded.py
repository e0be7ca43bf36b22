"""Parameters that ranks share: their shares, the whole of them, and ordinary ones, which are their own share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from rewardkit.models.sharded import (
    clamp_parameter,
    gather_anew,
    is_shared,
    share_like,
    share_of,
    whole_from_share,
    whole_of,
    whole_parameters,
)


@pytest.fixture
def sharded(tmp_path: Path) -> Iterator[nn.Module]:
    """Two linear layers with a tied weight, sharded over the one rank there is."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
        model[1].weight = model[0].weight
        fully_shard(model, mesh=init_device_mesh("cpu", (1,)))
        yield model
    finally:
        torch.distributed.destroy_process_group()


def test_an_ordinary_parameter_is_its_own_share() -> None:
    parameter = nn.Parameter(torch.tensor([1.0, 5.0]))
    assert not is_shared(parameter)
    assert share_of(parameter).data_ptr() == whole_of(parameter).data_ptr() == parameter.data_ptr()
    copied = share_like(parameter, torch.tensor([2.0, 3.0]))
    assert copied.tolist() == whole_from_share(parameter, copied).tolist() == [2.0, 3.0]
    clamp_parameter(parameter, 0.0, 2.0)
    assert parameter.tolist() == [1.0, 2.0]
    holder = nn.Module()
    holder.weight = parameter
    gather_anew(holder)
    with whole_parameters(holder, here=True):
        assert holder.weight is parameter


def test_shares_make_the_whole_and_are_changed_in_place(sharded: nn.Module) -> None:
    weight = sharded[0].weight  # type: ignore[index]
    assert is_shared(weight)
    whole = whole_of(weight).clone()
    share_of(weight).mul_(2)
    gather_anew(sharded)
    assert torch.equal(whole_of(weight), 2 * whole)
    assert torch.equal(whole_from_share(weight, share_like(weight, whole)), whole)
    clamp_parameter(weight, -0.1, 0.1)
    assert whole_of(weight).abs().max() <= 0.1


def test_inside_parameters_are_whole_and_tied_ones_stay_tied(sharded: nn.Module) -> None:
    before, names = dict(sharded.named_parameters()), [name for name, _ in sharded.named_parameters()]
    expected = {name: whole_of(parameter) for name, parameter in before.items()}
    with whole_parameters(sharded, here=True):
        inside = dict(sharded.named_parameters())
        assert list(inside) == names and not any(map(is_shared, inside.values()))
        assert all(torch.equal(inside[name], expected[name]) for name in names)
        assert sharded[0].weight is sharded[1].weight  # type: ignore[index]
    assert dict(sharded.named_parameters()) == before
    with whole_parameters(sharded, here=False):
        assert dict(sharded.named_parameters()) == before
