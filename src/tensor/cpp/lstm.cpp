// An LSTM's recurrence with a gradient of its own: one kernel for all time steps there, one back, and one
// product for the gradient of the recurrent kernel. On a GPU, cuda.cpp launches the kernels; on the CPU, where
// libtorch's own operations are faster, they are emulated, in float64, for tests.

#include <torch/csrc/autograd/custom_function.h>

#include <cstring>
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
using Forward = emulated::sigmoid::Forward;
using Backward = emulated::sigmoid::Backward;

// Rows of a block: they share what it reads of the weights, and their numbers are in registers.
constexpr int64_t kRows = 8;

// What a block may have of shared memory without asking for more.
constexpr int64_t kShared = 48 << 10;

// A kernel for states (R, B, H) like `state`, with `width` numbers a row in shared memory.
Kernel kernel(const char* name, const Tensor& state, bool hard, int64_t width) {
  const int64_t replicas = state.size(0), batch = state.size(1), units = state.size(2);
  TORCH_CHECK(units <= 1024, "a block has no thread for each of ", units, " units");
  const int64_t bytes = width * state.element_size();
  int64_t rows = state.is_cuda() ? kRows : emulated::rows;
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
template <typename Argument, typename Hard>
void run(const Kernel& kernel, Argument argument, const Tensor& state, void (*sigmoid)(Argument), void (*hard)(Hard)) {
  if (state.is_cuda()) {
    TORCH_CHECK(launch, "this build has no kernels");
    return launch(kernel, &argument);
  }
  TORCH_CHECK(kernel.wide && kernel.rows == emulated::rows, "on the CPU for tests alone, in float64");
  if (!kernel.hard) return emulated::run(sigmoid, kernel, argument);
  static_assert(sizeof(Hard) == sizeof(Argument));
  Hard same;
  std::memcpy(&same, &argument, sizeof(same));
  emulated::run(hard, kernel, same);
}

// Kernels of float32 read the same pointers as theirs.
double* numbers(const Tensor& tensor) {
  return tensor.defined() ? static_cast<double*>(tensor.data_ptr()) : nullptr;
}

const unsigned char* flags(const Tensor& tensor) {
  return tensor.defined() ? static_cast<const unsigned char*>(tensor.data_ptr()) : nullptr;
}

// (T, R, B, 4H) projections, (R, H, 4H) kernel, (R, B, H) state, (T, R, B, 1) bool, (R, B, H) mask.
class Recurrence : public torch::autograd::Function<Recurrence> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& projected, const Tensor& recurrent_kernel,
                               const Tensor& h, const Tensor& c, const std::optional<Tensor>& valid,
                               const std::optional<Tensor>& mask, bool hard) {
    const int64_t steps = projected.size(0);
    const auto all = [&](int64_t count) {
      return at::empty({count, h.size(0), h.size(1), h.size(2)}, h.options());
    };
    const Tensor gates = projected.clone(at::MemoryFormat::Contiguous), weights = recurrent_kernel.contiguous();
    const Tensor live = valid ? valid->contiguous() : Tensor(), masked = mask ? mask->contiguous() : Tensor();
    const Tensor hs = all(steps + 1), cs = all(steps + 1), tanhs = all(steps);
    hs.select(0, 0).copy_(h);
    cs.select(0, 0).copy_(c);
    const Tensor outputs = live.defined() ? all(steps) : hs.narrow(0, 1, steps);
    const Tensor entering = masked.defined() ? all(steps) : hs.narrow(0, 0, steps);
    Forward all_steps{};
    all_steps.gates = numbers(gates);
    all_steps.kernel = numbers(weights);
    all_steps.valid = flags(live);
    all_steps.mask = numbers(masked);
    all_steps.c = numbers(cs);
    all_steps.h = numbers(hs);
    all_steps.tanh_c = numbers(tanhs);
    all_steps.outputs = live.defined() ? numbers(outputs) : nullptr;
    all_steps.entering = masked.defined() ? numbers(entering) : nullptr;
    all_steps.steps = steps, all_steps.replicas = h.size(0), all_steps.rows = h.size(1), all_steps.units = h.size(2);
    run(kernel("forward", h, hard, 2 * h.size(2)), all_steps, h, emulated::sigmoid::forward, emulated::hard::forward);
    ctx->save_for_backward({gates, weights, cs, tanhs, entering, live, masked});
    ctx->saved_data["hard"] = hard;
    return {outputs, hs.select(0, steps).clone(), cs.select(0, steps).clone()};
  }

  static variable_list backward(AutogradContext* ctx, variable_list given) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &gates = saved[0], &weights = saved[1], &cs = saved[2], &tanhs = saved[3];
    const Tensor &entering = saved[4], &live = saved[5], &masked = saved[6];
    const Tensor first_c = cs.select(0, 0);
    const auto of_state = [&](const Tensor& gradient) {
      return gradient.defined() ? gradient.clone(at::MemoryFormat::Contiguous) : at::zeros_like(first_c);
    };
    const Tensor d_outputs = given[0].defined() ? given[0].contiguous() : at::zeros_like(tanhs);
    const Tensor d_h = of_state(given[1]), d_c = of_state(given[2]), d_z = at::empty_like(gates);
    const Tensor transposed = weights.transpose(1, 2).contiguous();
    Backward all_steps{};
    all_steps.gates = numbers(gates);
    all_steps.transposed = numbers(transposed);
    all_steps.valid = flags(live);
    all_steps.mask = numbers(masked);
    all_steps.c = numbers(cs);
    all_steps.tanh_c = numbers(tanhs);
    all_steps.d_outputs = numbers(d_outputs);
    all_steps.d_h = numbers(d_h);
    all_steps.d_c = numbers(d_c);
    all_steps.d_z = numbers(d_z);
    all_steps.steps = gates.size(0), all_steps.replicas = first_c.size(0);
    all_steps.rows = first_c.size(1), all_steps.units = first_c.size(2);
    const Kernel way_back = kernel("backward", first_c, ctx->saved_data["hard"].toBool(), 4 * first_c.size(2));
    run(way_back, all_steps, first_c, emulated::sigmoid::backward, emulated::hard::backward);
    // Time steps and rows are one axis: (R, H, T·B) · (R, T·B, 4H).
    const Tensor read = entering.permute({1, 3, 0, 2}).flatten(2);
    const Tensor d_kernel = at::bmm(read, d_z.permute({1, 0, 2, 3}).flatten(1, 2));
    return {d_z, d_kernel, d_h, d_c, Tensor(), Tensor(), Tensor()};
  }
};

}  // namespace
}  // namespace seqlab

extern "C" {

// What the last call on this thread that failed has to say; valid until the next one fails.
const char* seqlab_message() { return seqlab::message.c_str(); }

// All time steps of an LSTM, as `Recurrence` has them; `valid` and `mask` may be null. Leaves outputs
// (T, R, B, H) and the last h and c in `results`, which the caller owns.
int seqlab_lstm(at::Tensor** results, const at::Tensor* projected, const at::Tensor* kernel, const at::Tensor* h,
                const at::Tensor* c, const at::Tensor* valid, const at::Tensor* mask, int hard) {
  return seqlab::guarded([&] {
    const auto given = [](const at::Tensor* tensor) {
      return tensor ? std::optional<at::Tensor>(*tensor) : std::nullopt;
    };
    const auto found =
        seqlab::Recurrence::apply(*projected, *kernel, *h, *c, given(valid), given(mask), hard != 0);
    for (int i = 0; i < 3; ++i) results[i] = new at::Tensor(found[i]);
  });
}

}  // extern "C"
