"""How sure a model is against how often it is right, as a picture for loggers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from scipy.special import expit

from rewardkit.errors import DataError
from rewardkit.metrics.calibration import BINS, ece, labelled_differences, reliability


def reliability_picture(pairs: pd.DataFrame, *, title: str) -> Image.Image | None:
    """Bins of confidence with the share of votes that the model's choice got; the diagonal is a calibrated model.

    Args:
        pairs: ``judged_pairs`` of one dimension.
        title: Above the plot.

    Returns:
        RGB; None where no comparison has votes and different scores, or a score is infinite.
    """
    try:
        _, delta, label = labelled_differences(pairs)
    except DataError:
        return None
    sums = reliability(expit(delta), label)  # [bins / 2, 3]
    filled = sums[sums[:, 0] > 0]
    if not len(filled):
        return None
    # Fixed places and no file in between: half the time of a layout that is worked out, and it is drawn in training.
    figure = Figure(figsize=(5, 4.4), dpi=100)
    canvas = FigureCanvasAgg(figure)
    above, below = figure.add_axes((0.13, 0.38, 0.83, 0.54)), figure.add_axes((0.13, 0.12, 0.83, 0.2))
    sure, right = filled[:, 1] / filled[:, 0], filled[:, 2] / filled[:, 0]
    above.plot((0.5, 1), (0.5, 1), color="0.6", linestyle="--", label="calibrated")
    above.plot(sure, right, marker="o", color="C0", label=f"model, ECE {ece(expit(delta), label):.3f}")
    above.set(ylabel="share of votes for its choice", xlim=(0.5, 1), ylim=(0, 1.02), title=title)
    above.legend(loc="lower right")
    edges = [0.5 + (n + 0.5) / BINS for n in range(BINS // 2)]
    below.bar(edges, sums[:, 0], width=0.9 / BINS, color="C0")
    below.set(xlabel="probability of the candidate that it prefers", ylabel="comparisons", xlim=(0.5, 1))
    canvas.draw()
    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
