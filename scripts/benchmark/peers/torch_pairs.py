"""PyTorch on pairs of their own lengths: `nn.LSTM`, packed sources, padded targets."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from experiments import shift_right
from pairs import draw, initial_weights
from peers.torch_peer import adam

IGNORED = -100  # what `cross_entropy` leaves out


class Model(nn.Module):
    """The model out of PyTorch's layers; ids are time-major, the longest source comes first."""

    def __init__(self, pairs, weights):
        super().__init__()
        units = 2 * pairs.units
        self.dropout = pairs.dropout
        self.source_embedding = nn.Embedding(pairs.vocab, pairs.embedding)
        self.decoder_embedding = nn.Embedding(pairs.vocab, pairs.embedding)
        self.encoder = nn.LSTM(pairs.embedding, pairs.units, bidirectional=True)
        self.decoder = nn.LSTM(pairs.embedding, units)
        self.attention_output = nn.Linear(2 * units, units)
        self.dense = nn.Linear(units, pairs.vocab)
        with torch.no_grad():
            self.load(weights)

    def load(self, weights):
        """Keras's layout is PyTorch's transposed; its one bias takes the place of two."""
        for name in ("source_embedding", "decoder_embedding"):
            getattr(self, name).weight.copy_(torch.from_numpy(weights[name]["embeddings"]))
        for name in ("attention_output", "dense"):
            layer = getattr(self, name)
            layer.weight.copy_(torch.from_numpy(weights[name]["kernel"].T))
            layer.bias.copy_(torch.from_numpy(weights[name]["bias"]))
        lstms = ("forward", self.encoder, "l0"), ("backward", self.encoder, "l0_reverse")
        for name, layer, end in (*lstms, ("decoder", self.decoder, "l0")):
            values = {key: torch.from_numpy(value) for key, value in weights[name].items()}
            getattr(layer, f"weight_ih_{end}").copy_(values["kernel"].T)
            getattr(layer, f"weight_hh_{end}").copy_(values["recurrent"].T)
            getattr(layer, f"bias_ih_{end}").copy_(values["bias"])
            getattr(layer, f"bias_hh_{end}").zero_().requires_grad_(False)

    def dropped(self, inputs):
        """With one mask for all time steps of a sequence."""
        if not self.dropout:
            return inputs
        return inputs * F.dropout(torch.ones_like(inputs[0]), self.dropout)

    def forward(self, source, padding, lengths, decoder_input):
        read = self.dropped(self.source_embedding(source))
        keys, last = self.encoder(pack_padded_sequence(read, lengths))
        keys = pad_packed_sequence(keys, batch_first=True)[0]
        # Forward's and backward's side by side.
        state = [both.transpose(0, 1).flatten(1).unsqueeze(0) for both in last]
        fed = self.dropped(self.decoder_embedding(decoder_input))
        queries, _ = self.decoder(fed, tuple(state))
        queries = queries.transpose(0, 1)
        scores = torch.bmm(queries, keys.transpose(1, 2)).masked_fill(padding, -torch.inf)
        context = torch.bmm(scores.softmax(-1), keys)
        mixed = torch.tanh(self.attention_output(torch.cat([context, queries], -1)))
        return self.dense(mixed)


class Trainer:
    """A model, its optimiser and its data stream."""

    def __init__(self, pairs, seed, replicas, device):
        if replicas > 1:
            raise ValueError("replicas are compared with JAX only")
        self.pairs, self.device = pairs, device
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.model = Model(pairs, initial_weights(pairs, self.rng)).to(device)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = adam(self.parameters)

    def prepare(self, epochs):
        """Batches, sorted by length and padded to their longest, on the device; not timed."""
        return [self.batch(*ids) for ids in zip(*draw(self.pairs, epochs, self.rng))]

    def batch(self, source, target, lengths):
        order = np.argsort(-lengths, kind="stable")
        source, target, lengths = source[order], target[order], lengths[order]
        longest = lengths[0]
        source, target = source[:, :longest], target[:, : longest + 1]
        fed = shift_right(target)
        target = np.where(np.arange(longest + 1) > lengths[:, None], IGNORED, target)
        padding = (source == 0)[:, None]
        ids = [source.T, padding, fed.T, target]
        to = [torch.from_numpy(np.ascontiguousarray(i)).to(self.device) for i in ids]
        source, padding, fed, target = (i if i.dtype == torch.bool else i.long() for i in to)
        # Packing wants the lengths on the host.
        return source, padding, torch.from_numpy(lengths).long(), fed, target.flatten()

    def run(self, prepared):
        """Trains on them; loss and accuracy of every step, read at the end."""
        steps = [self.step(*batch) for batch in prepared]
        return torch.stack(steps).cpu().numpy().T

    def step(self, source, padding, lengths, decoder_input, target):
        """One update: loss and token accuracy over what is no padding."""
        logits = self.model(source, padding, lengths, decoder_input).flatten(0, 1)
        smoothing = self.pairs.label_smoothing
        loss = F.cross_entropy(logits, target, ignore_index=IGNORED, label_smoothing=smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, self.pairs.clipnorm)
        self.optimizer.step()
        right = (logits.detach().argmax(-1) == target).sum() / (target != IGNORED).sum()
        return torch.stack([loss.detach(), right])
