"""PyTorch, eager (`nn.LSTM` on one-hots) and compiled (an unrolled cell on kernel rows)."""

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from experiments import BETA_1, BETA_2, EPSILON, LEARNING_RATE, draw, initial_weights, shift_right


def adam(parameters):
    """PyTorch's fused Adam; it adds ε after the bias correction and Keras before it."""
    return torch.optim.Adam(parameters, LEARNING_RATE, (BETA_1, BETA_2), EPSILON, fused=True)


class Eager(nn.Module):
    """The model out of PyTorch's layers; inputs are one-hot and time-major."""

    one_hot = True

    def __init__(self, experiment, weights):
        super().__init__()
        self.experiment = experiment
        for name, values in weights.items():
            layer = nn.Linear if name == "dense" else nn.LSTM
            self.add_module(name, layer(*self.sizes(name, values)))
            self.load(getattr(self, name), values)

    @staticmethod
    def sizes(name, values):
        rows, columns = values["kernel"].shape
        return (rows, columns) if name == "dense" else (rows, columns // 4)

    @staticmethod
    def load(layer, values):
        """Keras's layout is PyTorch's transposed; its one bias takes the place of two."""
        tensors = {name: torch.from_numpy(value) for name, value in values.items()}
        with torch.no_grad():
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(tensors["kernel"].T)
                layer.bias.copy_(tensors["bias"])
                return
            layer.weight_ih_l0.copy_(tensors["kernel"].T)
            layer.weight_hh_l0.copy_(tensors["recurrent"].T)
            layer.bias_ih_l0.copy_(tensors["bias"])
            layer.bias_hh_l0.zero_().requires_grad_(False)

    def forward(self, source, decoder_input, state):
        output, last = self.encoder(source, state)
        if self.experiment.family == "repeat_vector":
            output, _ = self.decoder(output[-1].expand(self.experiment.n_out, -1, -1))
        elif self.experiment.family == "teacher_forced":
            output, _ = self.decoder(decoder_input, last)
        return self.dense(output), last


class Compiled(nn.Module):
    """The same on ids: rows of the kernel instead of a product, gates fused, time unrolled."""

    one_hot = False

    def __init__(self, experiment, weights):
        super().__init__()
        self.experiment = experiment
        for layer, values in weights.items():
            for name, value in values.items():
                setattr(self, f"{layer}_{name}", nn.Parameter(torch.from_numpy(value)))

    def lstm(self, layer, projected, state):
        recurrent, (h, c), outputs = getattr(self, f"{layer}_recurrent"), state, []
        for step in projected:
            i, f, g, o = (step + h @ recurrent).chunk(4, -1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return outputs, (h, c)

    def project(self, layer, ids):
        return F.embedding(ids, getattr(self, f"{layer}_kernel")) + getattr(self, f"{layer}_bias")

    def forward(self, source, decoder_input, state):
        outputs, last = self.lstm("encoder", self.project("encoder", source), state)
        if self.experiment.family == "repeat_vector":
            projected = outputs[-1] @ self.decoder_kernel + self.decoder_bias
            zero = torch.zeros_like(outputs[-1])
            repeated = [projected] * self.experiment.n_out
            outputs, _ = self.lstm("decoder", repeated, (zero, zero))
        elif self.experiment.family == "teacher_forced":
            outputs, _ = self.lstm("decoder", self.project("decoder", decoder_input), last)
        return torch.stack(outputs) @ self.dense_kernel + self.dense_bias, last


def loss_and_rest(model, source, decoder_input, target, state):
    """Mean cross-entropy, token accuracy and the state to carry on, cut off from the graph."""
    logits, (h, c) = model(source, decoder_input, state)
    loss = F.cross_entropy(logits.flatten(0, 1), target.flatten())
    accuracy = (logits.detach().argmax(-1) == target).float().mean()
    return loss, accuracy, (h.detach(), c.detach())


class Trainer:
    """A model, its optimiser and its data stream."""

    def __init__(self, kind, experiment, seed, replicas, device):
        if replicas > 1:
            raise ValueError("replicas are compared with JAX only")
        self.experiment, self.device = experiment, device
        self.rng = np.random.default_rng(seed)
        self.model = kind(experiment, initial_weights(experiment, self.rng)).to(device)
        self.loss_and_rest = loss_and_rest
        if kind is Compiled:
            mode = "max-autotune" if device == "cuda" else "default"
            self.loss_and_rest = torch.compile(loss_and_rest, mode=mode)
        self.optimizer = adam([p for p in self.model.parameters() if p.requires_grad])
        shape = (experiment.batch, experiment.units)
        shape = (1, *shape) if kind is Eager else shape
        # Two tensors: one for both makes the compiler treat the first batch as another function.
        self.zero = torch.zeros(shape, device=device), torch.zeros(shape, device=device)

    def prepare(self, epochs):
        """Inputs of fresh epochs, time-major, on the device; not timed."""
        source, target = draw(self.experiment, epochs, self.rng)
        ids = source, shift_right(target), target
        ids = [torch.from_numpy(i).to(self.device, torch.int64).transpose(2, 3) for i in ids]
        if self.model.one_hot:
            ids[:2] = [F.one_hot(i, self.experiment.vocab).float() for i in ids[:2]]
        # Tensors of a step are cut out here: indexing is no part of what is compared.
        return [list(zip(*map(torch.Tensor.unbind, epoch))) for epoch in zip(*ids)]

    def run(self, prepared):
        """Trains on them; loss and accuracy of every step, read at the end."""
        losses, accuracies = [], []
        for epoch in prepared:
            state = self.zero
            for source, decoder_input, target in epoch:
                loss, accuracy, state = self.loss_and_rest(
                    self.model, source, decoder_input, target, state
                )
                self.optimizer.zero_grad(set_to_none=True)
                loss.backward()
                self.optimizer.step()
                losses.append(loss.detach())
                accuracies.append(accuracy)
        return torch.stack(losses).cpu().numpy(), torch.stack(accuracies).cpu().numpy()


EagerTrainer = functools.partial(Trainer, Eager)
CompiledTrainer = functools.partial(Trainer, Compiled)
