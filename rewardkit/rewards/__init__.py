"""Rewards for those who tune generators: one differentiable number for each image, probes, best of n, adapters.

- ``reward``: ``Reward``, of one model or an ensemble, with weights of dimensions and a penalty for disagreement
- ``statistics``: mean and spread of a model's scores, for models that come without
- ``best_of``: the best of n images for each prompt
- ``adapters``: reward functions of TRL's and GRPO trainers, a loss for diffusers' training scripts
- ``tuning_losses``: the losses of policy gradients, Diffusion-DPO and ReFL
- ``probes``: what a generator could do to a reward instead of making better images
"""
