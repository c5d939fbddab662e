// The kernels of sequence.cuh on the CPU, for tests: a thread for each of a block's, block after block.

#pragma once

#include <cmath>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "native.h"

namespace seqlab {
namespace emulated {

struct Index {
  unsigned x = 0, y = 0;
};

inline thread_local Index threadIdx, blockIdx;
inline char* seqlab_shared = nullptr;

// Where all threads of a block wait for each other.
class Barrier {
 public:
  void begin(unsigned threads) { threads_ = threads, waiting_ = 0; }

  void wait() {
    std::unique_lock<std::mutex> alone(lock_);
    const unsigned turn = turn_;
    if (++waiting_ == threads_) {
      waiting_ = 0, ++turn_;
      all_.notify_all();
    } else {
      all_.wait(alone, [&] { return turn != turn_; });
    }
  }

 private:
  std::mutex lock_;
  std::condition_variable all_;
  unsigned threads_ = 0, waiting_ = 0, turn_ = 0;
};

inline Barrier barrier;

#define SEQLAB_DEVICE static inline
#define SEQLAB_KERNEL static inline
#define SEQLAB_SYNC() barrier.wait()
constexpr int rows = 2;

using std::exp;
using std::tanh;

template <typename Number, bool hard>
struct Kernels {
  using F = Number;
  static constexpr bool HARD = hard;
  static constexpr int ROWS = rows;
#include "sequence.cuh"

  // Does `name` with its argument, which has one layout for every type and kind of gate.
  static void call(const char* name, const void* argument) {
    if (name == std::string("forward")) return forward(*static_cast<const Forward*>(argument));
    backward(*static_cast<const Backward*>(argument));
  }
};

// How to call the compiled form that `kernel` is of.
using Call = void (*)(const char* name, const void* argument);

inline Call find(const Kernel& kernel) {
  if (kernel.wide) return kernel.hard ? Kernels<double, true>::call : Kernels<double, false>::call;
  return kernel.hard ? Kernels<float, true>::call : Kernels<float, false>::call;
}

// Does all blocks of `kernel`. One at a time in the whole process.
inline void run(const Kernel& kernel, const void* argument) {
  const Call call = find(kernel);
  static std::mutex process;
  std::lock_guard<std::mutex> alone(process);
  std::vector<char> shared(kernel.shared_bytes);
  seqlab_shared = shared.data();
  for (unsigned replica = 0; replica < kernel.replicas; ++replica) {
    for (unsigned block = 0; block < kernel.blocks; ++block) {
      barrier.begin(kernel.threads);
      std::vector<std::thread> threads;
      for (unsigned thread = 0; thread < kernel.threads; ++thread) {
        threads.emplace_back([&, thread] {
          threadIdx = {thread, 0}, blockIdx = {block, replica};
          call(kernel.name, argument);
        });
      }
      for (std::thread& thread : threads) thread.join();
    }
  }
}

}  // namespace emulated
}  // namespace seqlab
