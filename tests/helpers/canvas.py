"""What a canvas was sent, and what it was sent of."""

import numpy as np

PHOTO = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)


def of_kind(messages, *kinds):
    return [content for content, _ in messages if content["kind"] in kinds]


def vertices_in(message):
    content, (buffer,) = message
    return np.array(content["low"]) + np.frombuffer(buffer, "<u2").reshape(-1, 3) * np.array(content["step"])


def last_vertices(messages, panel=0):
    return vertices_in([m for m in messages if m[0]["kind"] == "vertices" and m[0]["panel"] == panel][-1])


def last_colours(messages, panel=0):
    _, (buffer,) = [m for m in messages if m[0]["kind"] == "colours" and m[0]["panel"] == panel][-1]
    return np.frombuffer(buffer, np.uint8).reshape(-1, 3)
