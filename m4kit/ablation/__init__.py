"""Studies of what a choice in the network does to its accuracy: head weights and activation functions."""

from importlib import import_module

_HOMES = {
    "activations.collect": ("collect",),
    "activations.figures": ("activation_figure",),
    "activations.numbers": ("activation_table", "against"),
    "activations.record": ("ActivationRecord", "RunRecord"),
    "activations.study": ("Plan", "Study", "StudyError"),
    "activations.units": ("curve", "units"),
    "heads.accuracy": ("Accuracy", "accuracy_at"),
    "heads.dynamic": ("DynamicStudy", "dynamic_study"),
    "heads.dynamic_figure": ("dynamic_figure",),
    "heads.figures": ("head_weights_figure", "simplex_figure"),
    "heads.judge": ("Judgement", "checked_weights", "judge", "judge_own", "simplex"),
    "heads.record": ("HeadStudy",),
    "heads.study": ("study",),
    "heads.validation": ("validation_samples",),
    "heads.weightings": (
        "WEIGHTINGS",
        "WeightingStudy",
        "train_weightings",
        "weighting_study",
        "weightings_figure",
    ),
    "record": ("RecordError",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605


def __getattr__(name: str):
    """Import a name at its first use, so that a figure of a record does not import the training."""
    if name in _HOME_OF:
        return getattr(import_module(f"m4kit.ablation.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module 'm4kit.ablation' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return __all__
