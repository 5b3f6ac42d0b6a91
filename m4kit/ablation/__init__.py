"""What a choice in the network does to its accuracy: the weights of the heads."""

from m4kit.ablation.dynamic import DynamicStudy, dynamic_study
from m4kit.ablation.dynamic_figure import dynamic_figure
from m4kit.ablation.head_accuracy import Accuracy, accuracy_at
from m4kit.ablation.head_figures import head_weights_figure, simplex_figure
from m4kit.ablation.head_record import HeadStudy, RecordError
from m4kit.ablation.head_study import study
from m4kit.ablation.heads import Judgement, checked_weights, judge, judge_own, simplex
from m4kit.ablation.labelled import validation_samples

__all__ = [
    "Accuracy",
    "DynamicStudy",
    "HeadStudy",
    "Judgement",
    "RecordError",
    "accuracy_at",
    "checked_weights",
    "dynamic_figure",
    "dynamic_study",
    "head_weights_figure",
    "judge",
    "judge_own",
    "simplex",
    "simplex_figure",
    "study",
    "validation_samples",
]
