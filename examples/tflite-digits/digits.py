"""Reads drawn digits by an int8 classifier of TensorFlow's own tree: digits.py MODEL

MODEL is `tensorflow/lite/tools/optimize/testdata/fc_qat.bin` of TensorFlow's source, which lies unpacked below
`var/sources` once tflite-runtime has been built: one fully connected layer of int8, trained on digits of 28 x 28.
"""

import sys

import numpy as np
from tflite_runtime.interpreter import Interpreter

# A single layer is no great reader: these plain drawings it reads, a crooked 7 it does not.
DRAWN = {
    0: "  ###  |  # #  | #   # |#     #|#     #|#     #| #   # |  # #  |  ###  ",
    1: "   #   |   #   |   #   |   #   |   #   |   #   |   #   |   #   |   #   ",
    2: "  ###  | #   # |#     #|      #|     # |    #  |   #   | ##### |#######",
    3: " ##### |      #|      #|     # |  ###  |     # |      #|#    # | ####  ",
    4: "#    # |#    # |#    # |#    # |#######|     # |     # |     # |     # ",
}


def picture(drawn: str) -> np.ndarray:
    """A drawing of seven columns and nine rows as 28 x 28 grey values, with soft edges."""
    small = np.array([[255.0 if dot == "#" else 0.0 for dot in row] for row in drawn.split("|")])
    large = np.zeros((28, 28))
    large[5:23, 7:21] = np.kron(small, np.ones((2, 2)))
    for axis in (0, 1):
        large = (np.roll(large, 1, axis) + 2 * large + np.roll(large, -1, axis)) / 4
    return np.minimum(large * 1.6, 255).astype(np.uint8)


def main(model: str) -> int:
    interpreter = Interpreter(model)
    interpreter.allocate_tensors()
    [given], [wanted] = interpreter.get_input_details(), interpreter.get_output_details()
    wrong = 0
    for digit, drawn in DRAWN.items():
        interpreter.set_tensor(given["index"], picture(drawn)[None])
        interpreter.invoke()
        scores = interpreter.get_tensor(wanted["index"])[0].astype(int)
        print(f"drawn {digit}, read {scores.argmax()}   scores {' '.join(f'{score:3d}' for score in scores)}")
        wrong += int(scores.argmax()) != digit
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
