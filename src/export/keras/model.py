"""A model that seqlab trained, built with Keras 3. Beside it lie model.json and model.safetensors.

    from model import answer
    probabilities = answer(source)    # of ids (batch, steps), or the numbers that follow (batch, steps, features)
    ids = probabilities.argmax(-1)

Where sources differ in length, `answer(source, lengths)` has padding behind them. `models` has the Keras models by
name: "model", or of one with a decoder that is fed what it said "encoder" and "decoder". They can be trained further,
and `save("trained.safetensors")` writes what `seqlab import --format keras` takes back.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
from keras import layers, ops
from safetensors.numpy import load_file, save_file

FOLDER = Path(__file__).parent
about = SimpleNamespace(**json.loads((FOLDER / "model.json").read_text()))
weights = load_file(FOLDER / "model.safetensors")
# Every layer that has weights, with their names.
named_layers = []

WIDTH = about.units * (1 + about.bidirectional)
LSTM_WEIGHTS = ["kernel", "recurrent_kernel", "bias"]


@keras.saving.register_keras_serializable("seqlab")
def hard_sigmoid(x):
    """Keras's up to 2.2; what Keras 3 calls so is another function, from which the registered name keeps it apart."""
    return ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def lstm(units, name):
    gates = hard_sigmoid if about.gate_activation == "hard_sigmoid" else "sigmoid"
    return layers.LSTM(units, recurrent_activation=gates, return_sequences=True, return_state=True, name=name)


def call(layer, inputs, names, **more):
    """What `layer` makes of `inputs`, with the weights called `names`."""
    outputs = layer(inputs, **more)
    layer.set_weights([weights[name] for name in names])
    named_layers.append((layer, names))
    return outputs


def level(name, layer):
    return name if layer == 0 else f"{name}_{layer + 1}"


def one_direction(x, name, units, mask=None, start=None):
    names = [f"{name}.{weight}" for weight in LSTM_WEIGHTS]
    outputs, h, c = call(lstm(units, name), x, names, mask=mask, initial_state=start)
    return outputs, [h, c]


def both_directions(x, name, mask):
    names = [f"{name}.{way}.{weight}" for way in ("forward", "backward") for weight in LSTM_WEIGHTS]
    both = layers.Bidirectional(lstm(about.units, "lstm"), name=name)
    outputs, *states = call(both, x, names, mask=mask)
    join = layers.Concatenate()
    return outputs, [join(states[0::2]), join(states[1::2])]


def stack(x, name, units, mask=None, starts=None, bidirectional=False):
    """Every output of stacked LSTMs, and the last state of each."""
    last = []
    for layer in range(about.layers):
        if bidirectional:
            x, state = both_directions(x, level(name, layer), mask)
        else:
            x, state = one_direction(x, level(name, layer), units, mask, starts and starts[layer])
        last.append(state)
    return x, last


def state_inputs(name, units):
    state = lambda layer, part: keras.Input((units,), name=f"{level(name, layer)}_{part}")
    return [[state(layer, part) for part in "hc"] for layer in range(about.layers)]


def states_by_name(name, states):
    return {f"{level(name, i)}_{part}": of for i, state in enumerate(states) for part, of in zip("hc", state)}


def source_input():
    """The inputs of a source by name, its vectors, and which steps are no padding."""
    if about.source_vocab is None:
        source = x = keras.Input((None, about.features_in), name="source")
    else:
        source = keras.Input((None,), dtype="int32", name="source")
        x = vectors_of_ids(source, about.source_vocab, "source_embedding")
    if not about.lengths:
        return {"source": source}, x, None
    lengths = keras.Input((), dtype="int32", name="lengths")
    return {"source": source, "lengths": lengths}, x, Valid()([source, lengths])


class Valid(layers.Layer):
    """Which steps of a source are within its length."""

    def call(self, inputs):
        source, lengths = inputs
        return ops.arange(ops.shape(source)[1], dtype="int32")[None] < lengths[:, None]

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs[0].shape, dtype="bool")


def vectors_of_ids(ids, vocab, name):
    if about.embedding:
        return call(layers.Embedding(vocab, about.embedding, name=name), ids, [f"{name}.embeddings"])
    return ops.one_hot(ids, vocab)


def dense(x):
    units, activation = (about.vocab, "softmax") if about.vocab else (about.features_out, None)
    layer = layers.Dense(units, activation=activation, name="dense")
    return call(layer, x, ["dense.kernel", "dense.bias"])


def answering_alone():
    """A model of a family whose answer depends on the source alone; of a stateful one with states in and out."""
    inputs, x, mask = source_input()
    family, starts = about.family, {}
    parts = ["lstm"] if family == "lstm" else ["encoder", "decoder"]
    if about.stateful:
        starts = {part: state_inputs(part, about.units) for part in parts}
    first, bidirectional = parts[0], about.bidirectional
    x, last = stack(x, first, about.units, mask, starts.get(first), bidirectional)
    states = states_by_name(first, last)
    if family == "repeat_vector":
        code = layers.RepeatVector(about.n_out)(last[-1][0])
        x, last = stack(code, "decoder", about.units, starts=starts.get("decoder"))
        states.update(states_by_name("decoder", last))
    elif not about.return_sequences:
        x = layers.Reshape((1, about.units))(last[-1][0])
    for part, given in starts.items():
        inputs.update(states_by_name(part, given))
    outputs = {"answer": dense(x)}
    return {"model": keras.Model(inputs, {**outputs, **states} if about.stateful else outputs)}


def encoder_and_decoder():
    inputs, x, mask = source_input()
    outputs, last = stack(x, "encoder", about.units, mask, bidirectional=about.bidirectional)
    memory = {"memory": outputs} if about.attention != "none" else {}
    if memory and mask is not None:
        memory["valid"] = mask
    encoder = keras.Model(inputs, {**memory, **states_by_name("decoder", last)})

    fed, x = decoder_input()
    states = state_inputs("decoder", WIDTH)
    inputs = {"fed": fed, **states_by_name("decoder", states)}
    for name, of in memory.items():
        inputs[name] = keras.Input(of.shape[1:], dtype=of.dtype, name=name)
    x, last = stack(x, "decoder", WIDTH, starts=states)
    if memory:
        x = attended(x, inputs["memory"], inputs.get("valid"))
    outputs = {"answer": dense(x), **states_by_name("decoder", last)}
    return {"encoder": encoder, "decoder": keras.Model(inputs, outputs)}


def decoder_input():
    """What a decoder is fed, and its vectors: ids, of which `vocab` stands for zeros, or vectors."""
    if about.feedback == "argmax":
        fed = keras.Input((None,), dtype="int32", name="fed")
        x = ops.one_hot(fed, about.vocab + 1)[..., : about.vocab]
    else:
        fed = x = keras.Input((None, about.vocab or about.features_out), name="fed")
    if about.embedding:
        # Of an id its row of the table; of probabilities the mean of the rows, weighted by them.
        table = layers.Dense(about.embedding, use_bias=False, name="decoder_embedding")
        x = call(table, x, ["decoder_embedding.embeddings"])
    return fed, x


def attended(x, memory, valid):
    """tanh([context ; x] · kernel + bias), the context being what an attention of `x` over `memory` sees."""
    mask = [None, valid]
    if about.attention == "additive":
        layer = layers.AdditiveAttention(name="attention")
        seen = [product(x, "query_kernel"), memory, product(memory, "key_kernel")]
        context = call(layer, seen, ["attention.scale"], mask=mask)
    else:
        query = product(x, "kernel") if about.attention == "general" else x
        context = layers.Attention(name="attention")([query, memory], mask=mask)
    both = layers.Concatenate()([context, x])
    output = layers.Dense(WIDTH, activation="tanh", name="attention_output")
    return call(output, both, ["attention_output.kernel", "attention_output.bias"])


def product(x, kernel):
    """`x` times a kernel of the attention."""
    layer = layers.Dense(WIDTH, use_bias=False, name=f"attention_{kernel}")
    return call(layer, x, [f"attention.{kernel}"])


models = encoder_and_decoder() if about.family == "teacher_forced" else answering_alone()


def run(name, inputs):
    outputs = models[name](inputs, training=False)
    return {key: ops.convert_to_numpy(value) for key, value in outputs.items()}


def answer(source, lengths=None):
    """Probabilities (batch, steps, vocab) of what the model answers, or numbers (batch, steps, features).

    A decoder is fed what it said, greedily, as in seqlab's predict; a stateful model starts from zero."""
    inputs = {"source": np.asarray(source, "int32" if about.source_vocab else "float32")}
    if about.lengths:
        inputs["lengths"] = np.asarray(lengths, "int32")
    batch = len(inputs["source"])
    if "model" in models:
        states = [of for of in models["model"].inputs if of.name not in inputs]
        inputs.update({of.name: np.zeros((batch, about.units), "float32") for of in states})
        return run("model", inputs)["answer"]
    decoded, fed, said = run("encoder", inputs), first(batch), []
    for _ in range(about.n_out):
        decoded.update(run("decoder", {**decoded, "fed": fed}))
        said.append(decoded.pop("answer"))
        fed = said[-1].argmax(-1).astype("int32") if about.feedback == "argmax" else said[-1]
    return np.concatenate(said, 1)


def first(batch):
    """What a decoder is fed first: an id, or zeros."""
    if about.feedback == "argmax":
        return np.full((batch, 1), about.vocab if about.start is None else about.start, "int32")
    fed = np.zeros((batch, 1, about.vocab or about.features_out), "float32")
    if about.start is not None:
        fed[:, :, about.start] = 1
    return fed


def save(path):
    """Writes the weights as they are, for `seqlab import --format keras --weights PATH`."""
    of_layer = lambda layer, names: zip(names, map(np.ascontiguousarray, layer.get_weights()))
    save_file({name: weight for layer, names in named_layers for name, weight in of_layer(layer, names)}, path)
