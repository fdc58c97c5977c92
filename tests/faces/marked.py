"""Pictures of marked squares, and a detector that knows where they are."""

import numpy as np

from fmpn_timm.faces import REFERENCE_LANDMARKS, Faces

#: What a detector says of a picture without a face.
NONE = Faces.in_picture([], [], [], (1, 1))


class Marked:
    """Finds a face wherever the picture's green channel says its side: that many pixels, about that one."""

    def __call__(self, pictures):
        found = []
        for picture in pictures:
            y, x = picture[:, :, 1].nonzero()
            side = picture[y, x, 1].astype(np.float32)
            corner = np.stack([x, y], 1) - (side // 2)[:, None]
            boxes = np.hstack([corner, corner + side[:, None]])
            landmarks = corner[:, None] + REFERENCE_LANDMARKS * side[:, None, None]
            found.append(Faces.in_picture(boxes, landmarks, np.full(len(side), 0.75), picture.shape))
        return found


def marked(*faces: tuple[int, int, int], shape: tuple[int, int] = (100, 140)) -> np.ndarray:
    """A picture with faces (x, y, side): red squares, marked in their middle."""
    picture = np.zeros((*shape, 3), np.uint8)
    for x, y, side in faces:
        picture[y:y + side, x:x + side, 0] = 100 + side
    for x, y, side in faces:
        picture[y + side // 2, x + side // 2, 1] = side
    return picture
