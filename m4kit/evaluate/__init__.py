"""Errors of landmarks and head pose on a labelled set: with true boxes, head by head, and of the whole chain."""

from m4kit.evaluate.chain import ChainEvaluation, evaluate_chain
from m4kit.evaluate.heads import HeadAnswers, predict_heads
from m4kit.evaluate.landmarks import LandmarkEvaluation, compare, evaluate_landmarks
from m4kit.evaluate.results import read_predictions, write_results
from m4kit.views import PredictCrops, crop_predictor

__all__ = [
    "ChainEvaluation",
    "HeadAnswers",
    "LandmarkEvaluation",
    "PredictCrops",
    "compare",
    "crop_predictor",
    "evaluate_chain",
    "evaluate_landmarks",
    "predict_heads",
    "read_predictions",
    "write_results",
]
