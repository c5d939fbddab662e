"""Keras 3 with `fit`, on the backend that KERAS_BACKEND names."""

import os
import sys

# Who uses the JAX backend has no TensorFlow installed, whose import would cost time and memory.
if os.environ.get("KERAS_BACKEND") == "jax":
    sys.modules["tensorflow"] = None

import keras
import numpy as np
from keras import layers

from experiments import BETA_1, BETA_2, EPSILON, LEARNING_RATE, draw, shift_right


def recurrent_stack(e):
    """`echo` and the partial echoes: stateful, as the notebook has them."""
    model = keras.Sequential([keras.Input(batch_shape=(e.batch, e.n_in, e.vocab))])
    model.add(layers.LSTM(e.units, return_sequences=e.family == "lstm", stateful=True))
    if e.family == "repeat_vector":
        model.add(layers.RepeatVector(e.n_out))
        model.add(layers.LSTM(e.units, return_sequences=True, stateful=True))
    model.add(layers.Dense(e.vocab, activation="softmax"))
    return model


def teacher_forced(e):
    """`reverse`: training model, and its layers for the tutorial's inference models."""
    source = keras.Input((None, e.vocab))
    encoder = layers.LSTM(e.units, return_state=True)
    _, *state = encoder(source)
    decoder_input = keras.Input((None, e.vocab))
    decoder = layers.LSTM(e.units, return_sequences=True, return_state=True)
    output, _, _ = decoder(decoder_input, initial_state=state)
    dense = layers.Dense(e.vocab, activation="softmax")
    model = keras.Model([source, decoder_input], dense(output))
    return model, source, state, decoder_input, decoder, dense


class Metrics(keras.callbacks.Callback):
    """Loss and accuracy of every batch; Keras itself only tells their running means."""

    def on_train_begin(self, logs=None):
        self.sums = []

    def on_train_batch_end(self, batch, logs=None):
        self.sums.append((logs["loss"] * (batch + 1), logs["accuracy"] * (batch + 1)))


class Trainer:
    """A compiled model and its data stream."""

    def __init__(self, experiment, seed, replicas, device):
        if replicas > 1:
            raise ValueError("replicas are compared with JAX only")
        self.experiment = experiment
        # On `reverse`: the tutorial's 100,000 samples, so that what a `fit` begins with is spread.
        self.fit_epochs = None
        if experiment.family == "teacher_forced":
            self.fit_epochs = 100_000 // experiment.batch
        self.rng = np.random.default_rng(seed)
        keras.utils.set_random_seed(seed)
        self.by_epoch = self.fit_epochs is None
        build = recurrent_stack if self.by_epoch else lambda e: teacher_forced(e)[0]
        self.model = build(experiment)
        adam = keras.optimizers.Adam(LEARNING_RATE, BETA_1, BETA_2, EPSILON)
        self.model.compile(adam, "categorical_crossentropy", metrics=["accuracy"])

    def prepare(self, epochs):
        """One-hot arrays for a `fit` an epoch, or on `reverse` for one over all; not timed."""
        source, target = draw(self.experiment, epochs, self.rng)
        fits = epochs if self.by_epoch else 1
        eye = np.eye(self.experiment.vocab, dtype=np.float32)

        def one_hot(ids):
            return eye[ids.reshape(fits, -1, ids.shape[-1])]

        if self.by_epoch:
            return list(zip(one_hot(source), one_hot(target)))
        inputs = [one_hot(source)[0], one_hot(shift_right(target))[0]]
        return [(inputs, one_hot(target)[0])]

    def run(self, prepared, callbacks=()):
        """Trains on them; loss and accuracy of every `fit`."""
        metrics = []
        for x, y in prepared:
            history = self.model.fit(
                x, y, self.experiment.batch, 1, 0, callbacks=list(callbacks), shuffle=False
            ).history
            metrics.append((history["loss"][0], history["accuracy"][0]))
            if self.by_epoch:
                self.reset()
        return np.array(metrics).T

    def reset(self):
        for layer in self.model.layers:
            if getattr(layer, "stateful", False):
                layer.reset_states()

    def curve(self, epochs):
        """Loss and accuracy of every step (`reverse`) or epoch."""
        prepared = self.prepare(epochs)
        if self.by_epoch:
            return self.run(prepared)
        every = Metrics()
        self.run(prepared, [every])
        return np.diff(np.array(every.sums), axis=0, prepend=0).T
