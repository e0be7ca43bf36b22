"""The kinds of reward model that rewardkit builds itself."""

from __future__ import annotations

from rewardkit.models.blip import BLIPReward
from rewardkit.models.clip import CLIPReward
from rewardkit.models.mllm.model import MLLMReward

Reward = CLIPReward | BLIPReward
"""A model of images and prompts alone. Both have ``towers``, ``head``, ``architecture``, ``dimensions``, ``transform``,
``tokenizer``, ``output`` and ``outputs``, ``device``, ``prepare_prompts``, ``score_pixels`` and ``of_logits``."""

AnyReward = Reward | MLLMReward
"""What ``build_model`` gives: the above, or an evaluator, which is asked questions."""
