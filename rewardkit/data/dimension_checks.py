"""Whether the dimensions of the data, of the model and of ``data.dimension_map`` go together."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from rewardkit.data.mixture import Mixture
from rewardkit.errors import UserError


def check_dimension_map(mixture: Mixture, others: Sequence[Mixture] = ()) -> None:
    """Refuses a name in ``dimension_map`` that nothing has.

    Args:
        mixture: The training data.
        others: The validation data.

    Raises:
        UserError: ``dimension_map`` names a dimension that the data do not have.
    """
    there = {name for index in mixture.indices for name in index.dimensions}
    known = there.union(*(index.dimensions for other in others for index in other.indices))
    wrong = [name for name in mixture.dimension_map if name not in known]
    if wrong:
        near = difflib.get_close_matches(wrong[0], sorted(known), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(
            f"data.dimension_map names {wrong[0]!r}, which the data do not have ({', '.join(sorted(known))}){hint}"
        )


def check_dimensions(mixture: Mixture) -> None:
    """Refuses training where it would teach nothing.

    Raises:
        UserError: A dimension of the model has no label in the training data.
    """
    there = {name for index in mixture.indices for name in index.dimensions}
    reached = {mixture.dimension_map.get(name, name) for name in there}
    for name in mixture.dimensions:
        if name not in reached:
            raise UserError(
                f"the model's dimension {name!r} has no label in the training data, which speak to "
                f"{', '.join(sorted(there)) or 'no dimension at all'}; remove it from model.dimensions or map one to it"
            )
