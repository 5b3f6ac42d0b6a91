"""Measures errors of landmarks and head pose on a labelled set.

They are measured with true boxes, for each head of the network, and for the whole chain with the detector. The share
of the error that the face model causes is measured, too.
"""

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
