// libtorch's update by Adam in one pass over the numbers, which tch does not bind.

#include <ATen/ops/_fused_adam.h>
#include <ATen/ops/full_like.h>

#include "native.h"

extern "C" {

// m ← m + (1 − beta_1)(g − m), v ← v + (1 − beta_2)(g² − v), theta ← theta − rate · m / (√v + epsilon). `rate` has no
// axis; all are float32.
int seqlab_adam(const at::Tensor* theta, const at::Tensor* m, const at::Tensor* v, const at::Tensor* gradient,
                const at::Tensor* rate, double beta_1, double beta_2, double epsilon) {
  return seqlab::guarded([&] {
    // It divides m and v by 1 − betaᵗ. After so many steps these are 1: the correction is in the rate, which leaves
    // epsilon outside it.
    const at::Tensor steps = at::full_like(*rate, 1e9, at::TensorOptions().dtype(at::kFloat));
    at::_fused_adam_({*theta}, {*gradient}, {*m}, {*v}, {}, {steps}, *rate, beta_1, beta_2, 0.0, epsilon, false, false);
  });
}

}  // extern "C"
