"""Losses: a model's output and labels in, one number and its parts out.

Every objective is called ``objective(output, labels, denominators) -> Loss`` and gives this micro-batch's share of the
optimiser step's loss. The formulae are pure functions; the classes hold options and learned parameters.

- Comparisons: ``PairwiseObjective`` (``pairwise.py``) sums what a rule says of each comparison. Rules:
  ``BradleyTerry``, ``PickScore``, ``ImageReward``, ``CDPO``, ``Robust`` (``bradley_terry.py``), ``Margin``, ``Scaled``,
  ``Hinge`` (``margins.py``), ``Thurstone``, ``Gaussian`` (``uncertain.py``), ``RaoKupper``, ``Davidson`` (``ties.py``)
  and ``Centering`` (``centering.py``). ``InBatchPickScore`` (``in_batch.py``) adds other prompts' images as negatives.
- Rankings: ``RankingObjective`` (``listwise.py``) with ``PlackettLuce``, ``Top1``, ``ListNet`` or ``RankingHinge``.
- Ratings: ``RatingObjective`` (``pointwise.py``); answers on a scale of levels: ``OrdinalObjective`` (``ordinal.py``).
- Captions: ``CaptionContrastObjective``. ``WeightedObjective`` adds terms up.

All compute in float32 at least, whatever the model computes in. Scores are logits (HPS v2: logit scale times cosine).
"""
