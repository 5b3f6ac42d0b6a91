"""Draw the README's picture, `docs/overview.jpg`, from sample images."""

from pathlib import Path

import m4kit

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("astronaut", "grace_hopper", "painted_young_man", "drawn_princess", "group")


def main() -> None:
    """Predict the sample images and draw them side by side."""
    predictor = m4kit.Predictor()
    predictions = [predictor(ROOT / "sample_images" / f"{name}.jpg") for name in NAMES]
    figure = m4kit.visualize.overview(predictions, max_side=330)
    print(figure.save(ROOT / "docs" / "overview.jpg"))


if __name__ == "__main__":
    main()
