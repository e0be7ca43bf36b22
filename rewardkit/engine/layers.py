"""What strategies that share weights need to know of a model: which parts repeat, and what stands between these."""

from __future__ import annotations

from torch import nn


def layers_of(module: nn.Module) -> list[nn.Module]:
    """The repeated layers of all towers, which are gathered one after the other: what ``ModuleList`` hold, outermost.

    A layer that holds such a list itself is one layer.
    """
    found: list[nn.Module] = []

    def visit(part: nn.Module) -> None:
        for child in part.children():
            if isinstance(part, nn.ModuleList) and any(True for _ in child.parameters()):
                found.append(child)
            else:
                visit(child)

    visit(module)
    return found


def between_layers(module: nn.Module) -> list[nn.Parameter]:
    """Parameters outside of all layers that belong to no module of torch's own: an embedding's places, a projection.

    Towers are entered by other methods than ``forward`` (``encode_text``) and objectives return no tensors, so that
    hooks around a module's ``forward`` miss these parameters. They are few and small.
    """
    within = {id(part) for layer in layers_of(module) for part in layer.modules()}
    return [
        parameter
        for part in module.modules()
        if id(part) not in within and not type(part).__module__.startswith("torch.nn")
        for parameter in part.parameters(recurse=False)
    ]
