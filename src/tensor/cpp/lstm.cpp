// An LSTM's recurrence with a gradient of its own: one kernel for all time steps there and one back, or a product
// of libtorch's and a kernel for each; and one product for the gradient of the recurrent kernel. On a GPU, cuda.cpp
// launches the kernels; on the CPU, where libtorch's own operations are faster, they are emulated for tests.

#include <ATen/record_function.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "emulated.h"
#include "native.h"

namespace seqlab {

thread_local std::string message;
void (*launch)(const Kernel& kernel, void* argument) = nullptr;

namespace {

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The arguments of the kernels, alike for every type, kind of gate and number of rows.
using Forward = emulated::Kernels<double, false>::Forward;
using Backward = emulated::Kernels<double, false>::Backward;

// Rows of a block: they share what it reads of the weights, and their numbers are in registers.
constexpr int64_t kRows = 8;

// What a block may have of shared memory without asking for more.
constexpr int64_t kShared = 48 << 10;

// A kernel for states (R, B, H) like `state`, with `width` numbers a row in shared memory. Where these are none, rows
// have nothing to share, and more blocks are busy with one each.
Kernel kernel(const char* name, const Tensor& state, bool hard, int64_t width) {
  const int64_t replicas = state.size(0), batch = state.size(1), units = state.size(2);
  TORCH_CHECK(units <= 1024, "a block has no thread for each of ", units, " units");
  const int64_t bytes = width * state.element_size();
  int64_t rows = !state.is_cuda() ? emulated::rows : width > 0 ? kRows : 1;
  while (rows > 1 && rows * bytes > kShared) rows /= 2;
  Kernel kernel{};
  kernel.name = name;
  kernel.wide = state.scalar_type() == at::kDouble;
  kernel.hard = hard;
  kernel.rows = static_cast<int>(rows);
  kernel.blocks = static_cast<unsigned>((batch + rows - 1) / rows);
  kernel.replicas = static_cast<unsigned>(replicas);
  kernel.threads = static_cast<unsigned>((units + 31) / 32 * 32);
  kernel.shared_bytes = static_cast<unsigned>(rows * bytes);
  return kernel;
}

// Does what `kernel` does with `argument` where `state` is.
template <typename Argument>
void run(const Kernel& kernel, Argument argument, const Tensor& state) {
  RECORD_FUNCTION(kernel.name, {});
  if (!state.is_cuda()) return emulated::run(kernel, &argument);
  TORCH_CHECK(launch, "this build has no kernels");
  launch(kernel, &argument);
}

// Kernels of float32 read the same pointers as theirs.
double* numbers(const Tensor& tensor) {
  return tensor.defined() ? static_cast<double*>(tensor.data_ptr()) : nullptr;
}

const unsigned char* flags(const Tensor& tensor) {
  return tensor.defined() ? static_cast<const unsigned char*>(tensor.data_ptr()) : nullptr;
}

// Where the numbers of `all` (R, T, …) begin at a time step, if it is there.
double* from_step(const Tensor& all, int64_t t) {
  return numbers(all.defined() ? all.narrow(1, t, all.size(1) - t) : all);
}

// (T, R, B, 4H) projections, (R, H, 4H) kernel, (R, B, H) state, (T, R, B, 1) bool, (R, B, H) mask. One kernel does
// all time steps, or one each. What is here has a replica's time steps side by side, (R, T, …).
class Recurrence : public torch::autograd::Function<Recurrence> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& projected, const Tensor& recurrent_kernel,
                               const Tensor& h, const Tensor& c, const std::optional<Tensor>& valid,
                               const std::optional<Tensor>& mask, bool hard, bool together) {
    const int64_t steps = projected.size(0), units = h.size(2);
    const auto all = [&](int64_t count) {
      return at::empty({h.size(0), count, h.size(1), units}, h.options());
    };
    const Tensor gates = projected.transpose(0, 1).clone(at::MemoryFormat::Contiguous);
    const Tensor weights = recurrent_kernel.contiguous();
    const Tensor live = valid ? valid->contiguous() : Tensor(), masked = mask ? mask->contiguous() : Tensor();
    const Tensor hs = all(steps + 1), cs = all(steps + 1), tanhs = all(steps);
    hs.select(1, 0).copy_(h);
    cs.select(1, 0).copy_(c);
    const Tensor outputs = live.defined() ? all(steps) : hs.narrow(1, 1, steps);
    const Tensor entering = masked.defined() ? all(steps) : hs.narrow(1, 0, steps);
    const Kernel way = kernel("forward", h, hard, together ? 2 * units : 0);
    const auto launch_steps = [&](int64_t first, int64_t count) {
      Forward some{};
      some.gates = from_step(gates, first);
      some.kernel = together ? numbers(weights) : nullptr;
      some.valid = flags(live.defined() ? live.narrow(0, first, count) : live);
      some.mask = together ? numbers(masked) : nullptr;
      some.c = from_step(cs, first);
      some.h = from_step(hs, first);
      some.tanh_c = from_step(tanhs, first);
      some.outputs = live.defined() ? from_step(outputs, first) : nullptr;
      some.entering = together && masked.defined() ? numbers(entering) : nullptr;
      some.steps = count, some.every = steps;
      some.replicas = h.size(0), some.rows = h.size(1), some.units = units;
      run(way, some, h);
    };
    if (together) launch_steps(0, steps);
    for (int64_t t = 0; !together && t < steps; ++t) {
      Tensor enters = entering.select(1, t);
      if (masked.defined()) at::mul_out(enters, hs.select(1, t), masked);
      gates.select(1, t).baddbmm_(enters, weights);
      launch_steps(t, 1);
    }
    ctx->save_for_backward({gates, weights, cs, tanhs, entering, live, masked});
    ctx->set_materialize_grads(false);
    ctx->saved_data["hard"] = hard;
    ctx->saved_data["together"] = together;
    return {outputs.transpose(0, 1), hs.select(1, steps), cs.select(1, steps)};
  }

  static variable_list backward(AutogradContext* ctx, variable_list given) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &gates = saved[0], &weights = saved[1], &cs = saved[2], &tanhs = saved[3];
    const Tensor &entering = saved[4], &live = saved[5], &masked = saved[6];
    const bool together = ctx->saved_data["together"].toBool();
    const int64_t steps = gates.size(1), units = weights.size(1);
    const auto of_state = [&](const Tensor& gradient) {
      if (gradient.defined()) return gradient.clone(at::MemoryFormat::Contiguous);
      return at::empty({gates.size(0), gates.size(2), units}, gates.options());
    };
    const Tensor d_outputs = given[0].defined() ? given[0].transpose(0, 1).contiguous() : Tensor();
    const Tensor d_h = of_state(given[1]), d_c = of_state(given[2]), d_z = at::empty_like(gates);
    const Tensor transposed = together ? weights.transpose(1, 2).contiguous() : weights.transpose(1, 2);
    const Kernel way = kernel("backward", d_h, ctx->saved_data["hard"].toBool(), together ? 4 * units : 0);
    const auto launch_steps = [&](int64_t first, int64_t count) {
      Backward some{};
      some.gates = from_step(gates, first);
      some.transposed = together ? numbers(transposed) : nullptr;
      some.valid = flags(live.defined() ? live.narrow(0, first, count) : live);
      some.mask = numbers(masked);
      some.c = from_step(cs, first);
      some.tanh_c = from_step(tanhs, first);
      some.d_outputs = from_step(d_outputs, first);
      some.d_h = numbers(d_h);
      some.d_c = numbers(d_c);
      // The later steps leave them to the earlier ones.
      const bool last = first + count == steps;
      some.has_d_h = !last || given[1].defined(), some.has_d_c = !last || given[2].defined();
      some.d_z = from_step(d_z, first);
      some.steps = count, some.every = steps;
      some.replicas = d_h.size(0), some.rows = d_h.size(1), some.units = units;
      run(way, some, d_h);
    };
    if (together) launch_steps(0, steps);
    for (int64_t t = steps - 1; !together && t >= 0; --t) {
      launch_steps(t, 1);
      const Tensor step = d_z.select(1, t);
      if (masked.defined()) {
        d_h.addcmul_(at::bmm(step, transposed), masked);
      } else {
        d_h.baddbmm_(step, transposed);
      }
    }
    // Time steps and rows are one axis: (R, H, T·B) · (R, T·B, 4H).
    const Tensor d_kernel = at::bmm(entering.flatten(1, 2).transpose(1, 2), d_z.flatten(1, 2));
    return {d_z.transpose(0, 1), d_kernel, d_h, d_c, Tensor(), Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace
}  // namespace seqlab

extern "C" {

// What the last call on this thread that failed has to say; valid until the next one fails.
const char* seqlab_message() { return seqlab::message.c_str(); }

// All time steps of an LSTM, as `Recurrence` has them, in one kernel where they are `together`; `valid` and `mask`
// may be null. Leaves outputs (T, R, B, H) and the last h and c in `results`, which the caller owns.
int seqlab_lstm(at::Tensor** results, const at::Tensor* projected, const at::Tensor* kernel, const at::Tensor* h,
                const at::Tensor* c, const at::Tensor* valid, const at::Tensor* mask, int hard, int together) {
  return seqlab::guarded([&] {
    const auto given = [](const at::Tensor* tensor) {
      return tensor ? std::optional<at::Tensor>(*tensor) : std::nullopt;
    };
    const auto found = seqlab::Recurrence::apply(*projected, *kernel, *h, *c, given(valid), given(mask), hard != 0,
                                                 together != 0);
    for (int i = 0; i < 3; ++i) results[i] = new at::Tensor(found[i]);
  });
}

}  // extern "C"
