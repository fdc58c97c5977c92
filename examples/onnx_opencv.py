"""A picture in, its expression out, with onnxruntime, OpenCV and NumPy alone.

    fmpn export MODEL --format onnx --out model.onnx
    python examples/onnx_opencv.py model.onnx face_detection_yunet_2023mar.onnx picture.jpg

The ONNX file says itself how faces are cut and what its outputs mean: one JSON object in its metadata. The detector is
YuNet, from https://huggingface.co/opencv/face_detection_yunet.
"""

import json
import sys

import cv2
import numpy as np
import onnxruntime


def main(model: str, yunet: str, picture: str) -> None:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["fmpn_timm.json"])
    image = cv2.imread(picture, cv2.IMREAD_COLOR)  # BGR, turned upright by EXIF
    if image is None:
        sys.exit(f"{picture} is no picture that OpenCV can read.")
    landmarks = find_face(image, yunet)
    if landmarks is None:
        sys.exit(f"{picture}: no face found.")
    face = fit(cut(image, landmarks, about["recipe"]), about["load_size"], about["size"])
    faces = face[None].transpose(0, 3, 1, 2).astype(np.float32) / 255  # (1, 3, size, size)
    logits = session.run(["logits"], {"faces": faces})[0][0]
    weights = np.exp((logits - logits.max()) / about["temperature"])
    probabilities = weights / weights.sum()
    print(about["classes"][probabilities.argmax()])
    for name, p in zip(about["classes"], probabilities, strict=True):
        print(f"  {name:10} {p:.3f}")


def find_face(image: np.ndarray, yunet: str) -> np.ndarray | None:
    """Five landmarks (5, 2) of the largest face of a BGR picture, in its pixels."""
    height, width = image.shape[:2]
    best, landmarks = 0.0, None
    for longest in (min(max(height, width, 192), 1024), 320):  # YuNet wants neither tiny nor huge faces
        scale = longest / max(height, width)
        shape = (max(round(width * scale), 1), max(round(height * scale), 1))
        resized = cv2.resize(image, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        found = cv2.FaceDetectorYN.create(yunet, "", shape, score_threshold=0.7).detect(resized)[1]
        if found is not None:
            largest = max(found, key=lambda face: face[2] * face[3])
            if largest[14] > best:
                best = largest[14]
                landmarks = (largest[4:14].reshape(5, 2) + 0.5) * (width / shape[0], height / shape[1]) - 0.5
            if largest[2:4].max() <= 320:
                break  # one that fills the picture may be surer in a small copy
        if longest <= 320:
            break
    return landmarks


def cut(image: np.ndarray, landmarks: np.ndarray, recipe: dict) -> np.ndarray:
    """The aligned face, RGB uint8, of a BGR picture."""
    size, margin = recipe["size"], recipe["margin"]
    target = (np.array(recipe["reference"]) + margin) / (1 + 2 * margin) * size
    matrix = similarity(landmarks, target, np.array(recipe["weights"]))
    scale = np.hypot(*matrix[:, 0])
    if recipe["interpolation"] == "area" and scale < 0.75:  # average first: a linear look-up would skip pixels
        shape = [max(round(side * scale), 1) for side in image.shape[1::-1]]
        landmarks = (landmarks + 0.5) * np.divide(shape, image.shape[1::-1]) - 0.5
        image = cv2.resize(image, shape, interpolation=cv2.INTER_AREA)
        matrix = similarity(landmarks, target, np.array(recipe["weights"]))
    how = cv2.INTER_CUBIC if recipe["interpolation"] == "cubic" else cv2.INTER_LINEAR
    face = cv2.warpAffine(image, matrix, (size, size), flags=how, borderMode=cv2.BORDER_REPLICATE)
    if recipe["color"] == "grey":
        return cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(face, cv2.COLOR_BGR2RGB)


def similarity(points: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Rotation, scale and shift (2, 3) from points to target by weighted least squares, in complex numbers."""
    weights = weights / weights.sum()
    z, t = points @ (1, 1j), target @ (1, 1j)
    dz, dt = z - weights @ z, t - weights @ t
    turn = weights @ (dz.conj() * dt) / (weights @ abs(dz) ** 2)
    shift = weights @ t - turn * (weights @ z)
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def fit(face: np.ndarray, load_size: int, size: int) -> np.ndarray:
    """Resize to load_size, linear and antialiased (cv2.resize does the one or the other), and crop the middle.

    First along the rows, then along the columns, each to whole numbers, as the model was evaluated: where it wavers, a
    level more or less here and there moves probabilities by hundredths.
    """
    scale = len(face) / load_size
    distance = (np.arange(load_size) + 0.5)[:, None] * scale - (np.arange(len(face)) + 0.5)
    matrix = np.maximum(1 - abs(distance) / max(scale, 1), 0)
    matrix /= matrix.sum(1, keepdims=True)
    face = np.floor(np.einsum("jw,hwc->hjc", matrix, face) + 0.5)
    face = np.floor(np.einsum("ih,hjc->ijc", matrix, face) + 0.5)
    first = round((load_size - size) / 2)
    return face[first:first + size, first:first + size]


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
