"""A model that seqlab trained, as a module of PyTorch. Beside it lie model.json and model.safetensors.

    from model import load
    model = load()
    probabilities = model.answer(source)    # of ids (batch, steps), or the numbers that follow (batch, steps, features)
    ids = probabilities.argmax(-1)

Where sources differ in length, `answer(source, lengths)` has padding behind them. The module can be trained further:
`model(source)` and `model(source, decoder_input=…)` return logits, and `save(model, "trained.safetensors")` writes what
`seqlab import --format pytorch` takes back.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import one_hot
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


class SigmoidLSTM(nn.LSTM):
    """nn.LSTM; steps behind `lengths` leave the state as it is, and put out zeros."""

    def forward(self, x, state=None, lengths=None):
        if lengths is None:
            return super().forward(x, state)
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        outputs, state = super().forward(packed, state)
        outputs, _ = pad_packed_sequence(outputs, batch_first=True, total_length=x.shape[1])
        return outputs, state


class HardSigmoidLSTM(nn.LSTM):
    """The same with gates clip(0.2x + 0.5, 0, 1), those of Keras up to 2.2, which nn.LSTM does not have."""

    def forward(self, x, state=None, lengths=None):
        ways, (batch, steps, _) = 1 + self.bidirectional, x.shape
        zeros = x.new_zeros(self.num_layers * ways, batch, self.hidden_size)
        start_h, start_c = (zeros, zeros) if state is None else state
        valid = valid_steps(steps, lengths, x.device)
        valid = x.new_ones(batch, steps, dtype=torch.bool) if valid is None else valid
        last = []
        for layer in range(self.num_layers):
            directions = []
            for place in range(layer * ways, (layer + 1) * ways):
                backwards = place % ways == 1
                outputs, h, c = self.direction(place, x, start_h[place], start_c[place], valid, backwards)
                directions.append(outputs)
                last.append((h, c))
            x = torch.cat(directions, -1)
        h, c = (torch.stack(states) for states in zip(*last))
        return x, (h, c)

    def direction(self, place, x, h, c, valid, backwards):
        weight_ih, weight_hh, bias_ih, bias_hh = self.all_weights[place]
        projected = x @ weight_ih.T + bias_ih + bias_hh
        outputs, order = [None] * x.shape[1], range(x.shape[1])
        for t in reversed(order) if backwards else order:
            i, f, g, o = (projected[:, t] + h @ weight_hh.T).chunk(4, -1)
            new_c = hard_sigmoid(f) * c + hard_sigmoid(i) * g.tanh()
            new_h = hard_sigmoid(o) * new_c.tanh()
            keep = valid[:, t, None]
            outputs[t] = new_h * keep
            h, c = torch.where(keep, new_h, h), torch.where(keep, new_c, c)
        return torch.stack(outputs, 1), h, c


def hard_sigmoid(x):
    return (0.2 * x + 0.5).clamp(0, 1)


def valid_steps(steps, lengths, device):
    """Which of so many steps are no padding, (batch, steps); None: all."""
    if lengths is None:
        return None
    return torch.arange(steps, device=device) < lengths.to(device)[:, None]


class Attention(nn.Module):
    """[context ; query]: the mean of the keys, weighted by the softmax of the scores, beside each query."""

    def __init__(self, score, width):
        super().__init__()
        self.score = score
        if score == "general":
            self.kernel = nn.Linear(width, width, bias=False)
        if score == "additive":
            self.query_kernel = nn.Linear(width, width, bias=False)
            self.key_kernel = nn.Linear(width, width, bias=False)
            self.scale = nn.Parameter(torch.zeros(width))

    def forward(self, queries, keys, valid):
        scores = self.scores(queries, keys)
        if valid is not None:
            scores = scores.masked_fill(~valid[:, None], -torch.inf)
        return torch.cat([scores.softmax(-1) @ keys, queries], -1)

    def scores(self, queries, keys):
        if self.score == "additive":
            terms = self.query_kernel(queries)[:, :, None] + self.key_kernel(keys)[:, None]
            return terms.tanh() @ self.scale
        queries = self.kernel(queries) if self.score == "general" else queries
        return queries @ keys.transpose(1, 2)


class Model(nn.Module):
    """The model that model.json describes."""

    def __init__(self, about):
        super().__init__()
        self.about = about
        width = about.units * (1 + about.bidirectional)
        if about.embedding:
            self.source_embedding = nn.Embedding(about.source_vocab, about.embedding)
        read = about.embedding or about.source_vocab or about.features_in
        if about.family == "lstm":
            self.lstm = self.stack(read, about.units)
        else:
            self.encoder = self.stack(read, about.units, about.bidirectional)
        if about.family == "repeat_vector":
            self.decoder = self.stack(width, about.units)
            width = about.units
        if about.family == "teacher_forced":
            self.fed_decoder(width)
        self.dense = nn.Linear(width, about.vocab or about.features_out)

    def fed_decoder(self, width):
        about = self.about
        if about.embedding:
            self.decoder_embedding = nn.Embedding(about.vocab, about.embedding)
        self.decoder = self.stack(about.embedding or about.vocab or about.features_out, width)
        if about.attention != "none":
            self.attention = Attention(about.attention, width)
            self.attention_output = nn.Linear(2 * width, width)

    def stack(self, inputs, units, bidirectional=False):
        kind = HardSigmoidLSTM if self.about.gate_activation == "hard_sigmoid" else SigmoidLSTM
        return kind(inputs, units, self.about.layers, batch_first=True, bidirectional=bidirectional)

    def vectors(self, embedding, x, vocab):
        """The vectors (batch, steps, width) of ids (batch, steps), or of vectors that stand for them."""
        if self.about.embedding:
            embedding = getattr(self, embedding)
            return x @ embedding.weight if x.is_floating_point() else embedding(x)
        return x if x.is_floating_point() else one_hot(x, vocab).to(self.dense.weight.dtype)

    def encode(self, source, lengths=None, state=None):
        """Every output of the encoder, and its last states (layers, batch, width), both directions side by side."""
        x = self.vectors("source_embedding", source, self.about.source_vocab)
        encoder = self.lstm if self.about.family == "lstm" else self.encoder
        outputs, last = encoder(x, state, lengths)
        ways = 1 + self.about.bidirectional
        joined = (of.unflatten(0, (-1, ways)).transpose(1, 2).flatten(2) for of in last)
        return outputs, tuple(joined)

    def decode(self, fed, state, memory, lengths=None):
        """Logits of a decoder that is fed ids (batch, steps) or vectors from `state`, and its next state."""
        x = self.vectors("decoder_embedding", fed, self.about.vocab)
        outputs, state = self.decoder(x, tuple(of.contiguous() for of in state))
        if self.about.attention != "none":
            valid = valid_steps(memory.shape[1], lengths, memory.device)
            outputs = self.attention_output(self.attention(outputs, memory, valid)).tanh()
        return self.dense(outputs), state

    def forward(self, source, lengths=None, decoder_input=None, state=None):
        """Logits (batch, steps, vocab) or numbers (batch, steps, features), and the states after the batch.

        States are by the names of the LSTMs; the next call may go on from them."""
        state = state or {}
        if self.about.family == "teacher_forced":
            memory, last = self.encode(source, lengths)
            logits, last = self.decode(decoder_input, last, memory, lengths)
            return logits, {"decoder": last}
        if self.about.family == "repeat_vector":
            _, encoder = self.encode(source, lengths, state.get("encoder"))
            code = encoder[0][-1][:, None].expand(-1, self.about.n_out, -1)
            outputs, decoder = self.decoder(code, state.get("decoder"))
            return self.dense(outputs), {"encoder": encoder, "decoder": decoder}
        outputs, last = self.encode(source, lengths, state.get("lstm"))
        outputs = outputs if self.about.return_sequences else last[0][-1][:, None]
        return self.dense(outputs), {"lstm": last}

    def said(self, logits):
        return logits if self.about.vocab is None else logits.softmax(-1)

    @torch.no_grad()
    def answer(self, source, lengths=None):
        """Probabilities (batch, steps, vocab) of what the model answers, or numbers (batch, steps, features).

        A decoder is fed what it said, greedily, as in seqlab's predict."""
        if self.about.family != "teacher_forced":
            return self.said(self(source, lengths)[0])
        memory, state = self.encode(source, lengths)
        fed, said = self.first(memory), []
        for _ in range(self.about.n_out):
            logits, state = self.decode(fed, state, memory, lengths)
            said.append(self.said(logits))
            fed = said[-1].argmax(-1) if self.about.feedback == "argmax" else said[-1]
        return torch.cat(said, 1)

    def first(self, memory):
        """What a decoder is fed first: an id, or zeros."""
        if self.about.start is not None:
            return torch.full((len(memory), 1), self.about.start, device=memory.device)
        return memory.new_zeros(len(memory), 1, self.about.vocab or self.about.features_out)


def load(folder=Path(__file__).parent):
    """The model of `folder`, with its weights."""
    model = Model(SimpleNamespace(**json.loads(Path(folder, "model.json").read_text())))
    model.load_state_dict(load_file(Path(folder, "model.safetensors")))
    return model.eval()


def save(model, path):
    """Writes the weights of `model` as they are, for `seqlab import --format pytorch --weights PATH`."""
    save_file({name: of.detach().cpu().contiguous() for name, of in model.state_dict().items()}, path)
