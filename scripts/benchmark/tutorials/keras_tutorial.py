"""The tutorial's script in Keras: `keras_tutorial.py SAMPLES THREADS DEVICE`.

Sequences are made in Python and decoded one by one with separate inference models.
"""

import os
import sys
from random import randint

if os.environ.get("KERAS_BACKEND") == "jax":
    sys.modules["tensorflow"] = None

import keras
import numpy as np
from keras import layers
from keras.utils import to_categorical

FEATURES, N_IN, N_OUT, UNITS = 51, 6, 3, 128


def define_models():
    """The training model, and the encoder and the decoder for inference."""
    encoder_inputs = keras.Input((None, FEATURES))
    _, h, c = layers.LSTM(UNITS, return_state=True)(encoder_inputs)
    decoder_inputs = keras.Input((None, FEATURES))
    decoder = layers.LSTM(UNITS, return_sequences=True, return_state=True)
    outputs, _, _ = decoder(decoder_inputs, initial_state=[h, c])
    dense = layers.Dense(FEATURES, activation="softmax")
    train = keras.Model([encoder_inputs, decoder_inputs], dense(outputs))
    encoder = keras.Model(encoder_inputs, [h, c])
    state = [keras.Input((UNITS,)), keras.Input((UNITS,))]
    outputs, h, c = decoder(decoder_inputs, initial_state=state)
    return train, encoder, keras.Model([decoder_inputs, *state], [dense(outputs), h, c])


def get_dataset(samples):
    """One-hot sources, decoder inputs and targets."""
    sources, inputs, targets = [], [], []
    for _ in range(samples):
        source = [randint(1, FEATURES - 1) for _ in range(N_IN)]
        target = source[:N_OUT][::-1]
        sources.append(to_categorical(source, num_classes=FEATURES))
        inputs.append(to_categorical([0] + target[:-1], num_classes=FEATURES))
        targets.append(to_categorical(target, num_classes=FEATURES))
    return np.array(sources), np.array(inputs), np.array(targets)


def predict_sequence(encoder, decoder, source):
    """Decodes one source from an all-zero vector, feeding the softmax vector back."""
    state = encoder.predict(source, verbose=0)
    fed = np.zeros((1, 1, FEATURES))
    output = []
    for _ in range(N_OUT):
        fed, h, c = decoder.predict([fed, *state], verbose=0)
        output.append(fed[0, 0])
        state = [h, c]
    return np.argmax(output, -1)


def main():
    train, encoder, decoder = define_models()
    train.compile(optimizer="adam", loss="categorical_crossentropy", metrics=["accuracy"])
    sources, inputs, targets = get_dataset(int(sys.argv[1]))
    train.fit([sources, inputs], targets, epochs=1, verbose=2)
    right = 0
    for _ in range(100):
        source, _, target = get_dataset(1)
        predicted = predict_sequence(encoder, decoder, source)
        right += np.array_equal(predicted, np.argmax(target[0], -1))
    print("accuracy", right / 100)


if __name__ == "__main__":
    main()
