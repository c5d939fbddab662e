// An LSTM over time steps, there and back, one kernel each: with the products, over all of them, or without,
// over one whose product is libtorch's. NVRTC compiles this on the machine with the GPU, for a type F, gates that
// are HARD sigmoids or not, and ROWS of a batch a block; lstm.cpp includes it for the CPU, where threads stand for
// a GPU's.
//
// A block has some rows of one replica, and a thread one unit of these rows: it keeps their cells in
// registers and does the products for its unit's four gates, so that a time step needs no other launch and
// all that threads hand each other is h, or the gradient of the gates, in shared memory. Blocks of gates are
// i, f, g, o. A replica's time steps lie side by side, as the products over all of them want it. Pointers may be
// null where marked; they point at the first of the steps that are done, of `every` time steps in all.

#ifdef __CUDACC_RTC__
#define SEQLAB_DEVICE __device__ __forceinline__
#define SEQLAB_KERNEL extern "C" __global__ __launch_bounds__(SEQLAB_THREADS)
#define SEQLAB_SYNC() __syncthreads()
extern __shared__ __align__(16) char seqlab_shared[];
using F = SEQLAB_NUMBER;
constexpr bool HARD = SEQLAB_HARD;
constexpr int ROWS = SEQLAB_ROWS;
#endif

struct Forward {
  F* gates;                    // (R, T, B, 4H): x·kernel + bias, replaced by the activated gates
  const F* kernel;             // (R, H, 4H): the recurrent one, null: the gates have its product already
  const unsigned char* valid;  // (T, R, B), null: all steps are
  const F* mask;               // (R, B, H): of what enters the product, null: no dropout
  F* c;                        // (R, T + 1, B, H): the first is given
  F* h;                        // (R, T + 1, B, H): the state, the first is given
  F* tanh_c;                   // (R, T, B, H)
  F* outputs;                  // (R, T, B, H), null: these are h
  F* entering;                 // (R, T, B, H): what enters the product, null: that is h
  long long steps, every, replicas, rows, units;
};

struct Backward {
  const F* gates;              // (R, T, B, 4H), activated
  const F* transposed;         // (R, 4H, H): the recurrent kernel, null: d_h gets no product with it
  const unsigned char* valid;  // (T, R, B), null: all steps are
  const F* mask;               // (R, B, H), null: no dropout
  const F* c;                  // (R, T + 1, B, H)
  const F* tanh_c;             // (R, T, B, H)
  const F* d_outputs;          // (R, T, B, H), null: zero
  F* d_h;                      // (R, B, H): of the state after the steps, replaced by that of the one before
  F* d_c;                      // (R, B, H): the same
  long long has_d_h, has_d_c;  // whether they are there; 0: zero
  F* d_z;                      // (R, T, B, 4H)
  long long steps, every, replicas, rows, units;
};

SEQLAB_DEVICE F gate(F x) {
  if (!HARD) return F(1) / (F(1) + exp(-x));
  const F y = F(0.2) * x + F(0.5);
  return y < F(0) ? F(0) : (y > F(1) ? F(1) : y);
}

// The slope of `gate` where it is y.
SEQLAB_DEVICE F slope(F y) {
  if (!HARD) return y * (F(1) - y);
  return y > F(0) && y < F(1) ? F(0.2) : F(0);
}

SEQLAB_KERNEL void forward(Forward a) {
  F* shared = reinterpret_cast<F*>(seqlab_shared);  // (2, ROWS, H): what enters a step's product, and the next's
  const long long units = a.units, unit = threadIdx.x, replica = blockIdx.y;
  const long long first = (long long)blockIdx.x * ROWS, end = a.rows;
  const long long steps = replica * a.every, states = replica * (a.every + 1);  // before this replica's
  const F* kernel = a.kernel + replica * units * 4 * units + unit;
  const bool works = unit < units;
  const long long product = a.kernel ? units : 0;
  F c[ROWS], h[ROWS], mask[ROWS];
  for (int r = 0; r < ROWS; ++r) {
    const bool is = works && first + r < end;
    const long long at = (states * end + first + r) * units + unit;
    c[r] = is ? a.c[at] : F(0);
    h[r] = is ? a.h[at] : F(0);
    mask[r] = is && a.mask ? a.mask[(replica * end + first + r) * units + unit] : F(1);
    if (works && product) shared[r * units + unit] = h[r] * mask[r];
    if (is && a.entering && a.steps > 0) a.entering[(steps * end + first + r) * units + unit] = h[r] * mask[r];
  }
  SEQLAB_SYNC();
  for (long long t = 0; t < a.steps; ++t) {
    const F* entering = shared + (t % 2) * ROWS * units;
    F* next = shared + ((t + 1) % 2) * ROWS * units;
    if (works) {
      F z[4][ROWS];
      for (int r = 0; r < ROWS; ++r) {
        const bool is = first + r < end;
        const F* row = a.gates + ((steps + t) * end + first + r) * 4 * units + unit;
        for (int g = 0; g < 4; ++g) z[g][r] = is ? row[g * units] : F(0);
      }
#pragma unroll 8
      for (long long k = 0; k < product; ++k) {
        const F* w = kernel + k * 4 * units;
        const F i = w[0], f = w[units], g = w[2 * units], o = w[3 * units];
        for (int r = 0; r < ROWS; ++r) {
          const F x = entering[r * units + k];
          z[0][r] += i * x;
          z[1][r] += f * x;
          z[2][r] += g * x;
          z[3][r] += o * x;
        }
      }
      for (int r = 0; r < ROWS; ++r) {
        if (first + r >= end) continue;
        const long long row = (steps + t) * end + first + r, at = row * units + unit;
        const long long after = ((states + t + 1) * end + first + r) * units + unit;
        const F i = gate(z[0][r]), f = gate(z[1][r]), g = tanh(z[2][r]), o = gate(z[3][r]);
        F* gates = a.gates + row * 4 * units + unit;
        gates[0] = i, gates[units] = f, gates[2 * units] = g, gates[3 * units] = o;
        const bool live = !a.valid || a.valid[(t * a.replicas + replica) * end + first + r];
        const F now = f * c[r] + i * g, y = tanh(now);
        if (live) c[r] = now, h[r] = o * y;
        a.tanh_c[at] = y;
        a.c[after] = c[r];
        a.h[after] = h[r];
        if (a.outputs) a.outputs[at] = live ? h[r] : F(0);
        if (a.entering && t + 1 < a.steps) a.entering[end * units + at] = h[r] * mask[r];
        if (product) next[r * units + unit] = h[r] * mask[r];
      }
    }
    SEQLAB_SYNC();
  }
}

SEQLAB_KERNEL void backward(Backward a) {
  F* shared = reinterpret_cast<F*>(seqlab_shared);  // (ROWS, 4H): the gradient of a step's z
  const long long units = a.units, unit = threadIdx.x, replica = blockIdx.y;
  const long long first = (long long)blockIdx.x * ROWS, end = a.rows;
  const long long steps = replica * a.every, states = replica * (a.every + 1);  // before this replica's
  const F* transposed = a.transposed + replica * units * 4 * units + unit;
  const bool works = unit < units;
  const long long product = a.transposed ? 4 * units : 0;
  F d_h[ROWS], d_c[ROWS], mask[ROWS];
  for (int r = 0; r < ROWS; ++r) {
    const bool is = works && first + r < end;
    const long long at = (replica * end + first + r) * units + unit;
    d_h[r] = is && a.has_d_h ? a.d_h[at] : F(0);
    d_c[r] = is && a.has_d_c ? a.d_c[at] : F(0);
    mask[r] = is && a.mask ? a.mask[at] : F(1);
  }
  for (long long t = a.steps - 1; t >= 0; --t) {
    for (int r = 0; works && r < ROWS; ++r) {
      F d[4] = {F(0), F(0), F(0), F(0)};
      const long long row = (steps + t) * end + first + r, at = row * units + unit;
      if (first + r < end) {
        const F* gates = a.gates + row * 4 * units + unit;
        if (!a.valid || a.valid[(t * a.replicas + replica) * end + first + r]) {
          const F i = gates[0], f = gates[units], g = gates[2 * units], o = gates[3 * units];
          const F y = a.tanh_c[at], of_h = d_h[r] + (a.d_outputs ? a.d_outputs[at] : F(0));
          const F of_c = d_c[r] + of_h * o * (F(1) - y * y);
          d[0] = of_c * g * slope(i);
          d[1] = of_c * a.c[((states + t) * end + first + r) * units + unit] * slope(f);
          d[2] = of_c * i * (F(1) - g * g);
          d[3] = of_h * y * slope(o);
          d_c[r] = of_c * f;
          d_h[r] = F(0);
        }
        F* d_z = a.d_z + row * 4 * units + unit;
        for (int g = 0; g < 4; ++g) d_z[g * units] = d[g];
      }
      for (int g = 0; product && g < 4; ++g) shared[(r * 4 + g) * units + unit] = d[g];
    }
    SEQLAB_SYNC();
    if (works) {
      F sum[ROWS];
      for (int r = 0; r < ROWS; ++r) sum[r] = F(0);
#pragma unroll 16
      for (long long k = 0; k < product; ++k) {
        const F w = transposed[k * units];
        for (int r = 0; r < ROWS; ++r) sum[r] += w * shared[r * 4 * units + k];
      }
      for (int r = 0; r < ROWS; ++r) d_h[r] += sum[r] * mask[r];
    }
    SEQLAB_SYNC();
  }
  for (int r = 0; works && r < ROWS; ++r) {
    if (first + r >= end) continue;
    const long long at = (replica * end + first + r) * units + unit;
    a.d_h[at] = d_h[r];
    a.d_c[at] = d_c[r];
  }
}
