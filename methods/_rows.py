"""The zero-invariant part of channel groups as one vector: arithmetic per channel, in the same number of kernels for any model.

The zero-invariant part of a channel is what produces it: its filter, its bias, its norm's scale and shift. When all of these
are zero, the output of the channel is zero (OTOv2 calls such a part a ZIG, zero-invariant group).

    rows.remember_()                        before <- the parameters
    dot = rows.sums(rows.before * now)      inner products, (K,) for the K channels of all groups
    rows.split(dot)                         the same by group root
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from bench.channels.groups import Group


class Rows:
    """Parameters as a vector (n,) of rows, each of which belongs to one of K channels, or to none.

    A parameter that two groups share along different dimensions counts for the first of them.
    """

    def __init__(self, model: nn.Module, groups: Sequence[Group]) -> None:
        values, self.groups = dict(model.named_parameters()), list(groups)
        self.channels = sum(g.channels for g in groups)
        owner, start = dict[str, tuple[int, Tensor]](), 0
        for group in groups:
            for member in group.members:
                if member.name in values and member.kind not in ("in", "size"):
                    empty = torch.full((values[member.name].shape[member.dim],), self.channels)
                    dim, channel = owner.setdefault(member.name, (member.dim, empty))
                    if dim == member.dim:
                        channel[member.index] = start + member.channel
            start += group.channels
        self._parameters: list[Tensor] = [values[name] for name in owner]
        self._dims = [dim for dim, _ in owner.values()]
        device, widths = self._parameters[0].device, [p.numel() // p.shape[d] for p, d in self._pairs()]
        channel = torch.cat([c for _, c in owner.values()])
        lengths = torch.cat([torch.full_like(c, w) for (_, c), w in zip(owner.values(), widths, strict=True)])
        self._channel, self._lengths = channel.to(device), lengths.to(device)
        self._order = channel.argsort(stable=True).to(device)
        self._counts = channel.bincount(minlength=self.channels + 1).to(device)
        self._size = sum(p.numel() for p in self._parameters)
        self.before, self._before = self._buffer(device)
        self.now, self._now = self._buffer(device)

    def _pairs(self) -> list[tuple[Tensor, int]]:
        return list(zip(self._parameters, self._dims, strict=True))

    def _buffer(self, device: torch.device) -> tuple[Tensor, list[Tensor]]:
        """A vector, and views of it in the parameters' shapes (and in their memory layout, where rows are contiguous in it)."""
        flat, views = torch.empty(self._size, device=device), list[Tensor]()
        for part, (p, dim) in zip(torch.split(flat, [p.numel() for p in self._parameters]), self._pairs(), strict=True):
            if dim == 0 and p.stride(0) * len(p) == p.numel():
                views.append(part.as_strided(p.shape, p.stride()))
            else:
                views.append(part.view(p.movedim(dim, 0).shape).movedim(0, dim))
        return flat, views

    @torch.no_grad()
    def remember_(self) -> None:
        """``before`` <- the parameters."""
        torch._foreach_copy_(self._before, self._parameters)

    @torch.no_grad()
    def read_(self) -> Tensor:
        """``now`` <- the parameters; returns it."""
        torch._foreach_copy_(self._now, self._parameters)
        return self.now

    @torch.no_grad()
    def write_(self) -> None:
        """The parameters <- ``now``."""
        torch._foreach_copy_(self._parameters, self._now)

    def sums(self, values: Tensor) -> Tensor:
        """The sums of a vector (n,) over each channel, (K,). The order of summation is fixed."""
        rows = torch.segment_reduce(values, "sum", lengths=self._lengths, unsafe=True)
        return torch.segment_reduce(rows[self._order], "sum", lengths=self._counts, unsafe=True)[: self.channels]

    def spread(self, values: Tensor) -> Tensor:
        """The value of each channel, (K,), at all of its positions, (n,); 0 where a row belongs to no channel."""
        padded = torch.cat([values, values.new_zeros(1)])
        return torch.repeat_interleave(padded[self._channel], self._lengths, output_size=self._size)

    def join(self, values: Mapping[str, Tensor]) -> Tensor:
        """Values (C,) by group root as one vector (K,)."""
        return torch.cat([values[g.root] for g in self.groups])

    def split(self, values: Tensor) -> dict[str, Tensor]:
        """A vector (K,) as values (C,) by group root."""
        parts = torch.split(values, [g.channels for g in self.groups])
        return {g.root: part for g, part in zip(self.groups, parts, strict=True)}
