"""Errors of landmarks and head pose on a labelled set: with true boxes, head by head, of the whole chain, and what of
them is the face model's."""

from m4kit.evaluate.chain import ChainEvaluation, evaluate_chain
from m4kit.evaluate.expressiveness import Expressiveness, expressiveness, expressiveness_table
from m4kit.evaluate.heads import HeadAnswers, predict_heads
from m4kit.evaluate.landmarks import LandmarkEvaluation, compare, evaluate_landmarks
from m4kit.evaluate.results import read_predictions, write_results
from m4kit.views import PredictCrops, crop_predictor

__all__ = [
    "ChainEvaluation",
    "Expressiveness",
    "HeadAnswers",
    "LandmarkEvaluation",
    "PredictCrops",
    "compare",
    "crop_predictor",
    "evaluate_chain",
    "evaluate_landmarks",
    "expressiveness",
    "expressiveness_table",
    "predict_heads",
    "read_predictions",
    "write_results",
]
