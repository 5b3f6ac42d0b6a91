"""What a choice in the network does to its accuracy: the weights of the heads, and the activation function."""

from m4kit.ablation.activation_figures import activation_figure
from m4kit.ablation.activation_numbers import activation_table, against
from m4kit.ablation.activation_record import ActivationRecord, RunRecord
from m4kit.ablation.activation_study import Plan, Study, StudyError
from m4kit.ablation.activation_units import curve, units
from m4kit.ablation.dynamic import DynamicStudy, dynamic_study
from m4kit.ablation.dynamic_figure import dynamic_figure
from m4kit.ablation.head_accuracy import Accuracy, accuracy_at
from m4kit.ablation.head_figures import head_weights_figure, simplex_figure
from m4kit.ablation.head_record import HeadStudy, RecordError
from m4kit.ablation.head_study import study
from m4kit.ablation.heads import Judgement, checked_weights, judge, judge_own, simplex
from m4kit.ablation.labelled import validation_samples
from m4kit.ablation.weightings import (
    WEIGHTINGS,
    WeightingStudy,
    train_weightings,
    weighting_study,
    weightings_figure,
)

__all__ = [
    "WEIGHTINGS",
    "Accuracy",
    "ActivationRecord",
    "DynamicStudy",
    "HeadStudy",
    "Judgement",
    "Plan",
    "RecordError",
    "RunRecord",
    "Study",
    "StudyError",
    "WeightingStudy",
    "accuracy_at",
    "activation_figure",
    "activation_table",
    "against",
    "checked_weights",
    "curve",
    "dynamic_figure",
    "dynamic_study",
    "head_weights_figure",
    "judge",
    "judge_own",
    "simplex",
    "simplex_figure",
    "study",
    "train_weightings",
    "units",
    "validation_samples",
    "weighting_study",
    "weightings_figure",
]
