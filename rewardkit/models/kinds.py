"""The kinds of reward model that rewardkit builds itself."""

from __future__ import annotations

from rewardkit.models.blip import BLIPReward
from rewardkit.models.clip import CLIPReward

Reward = CLIPReward | BLIPReward
"""What ``build_model`` and ``rewardkit.load`` give. Both have ``towers``, ``head``, ``architecture``, ``dimensions``,
``transform``, ``tokenizer``, ``output`` and ``outputs``, ``device``, ``prepare_prompts``, ``score_pixels`` and
``of_logits``."""
