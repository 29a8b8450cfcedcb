"""The guided step, without a trainer (:mod:`~guidance.training.guided_step`) and as Lightning has it
(:mod:`~guidance.training.module`).
"""
