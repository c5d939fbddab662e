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

namespace sigmoid {
using std::exp;
using std::tanh;
using F = float;
constexpr bool HARD = false;
constexpr int ROWS = rows;
#include "sequence.cuh"
}  // namespace sigmoid

namespace hard {
using std::exp;
using std::tanh;
using F = float;
constexpr bool HARD = true;
constexpr int ROWS = rows;
#include "sequence.cuh"
}  // namespace hard

namespace wide_sigmoid {
using std::exp;
using std::tanh;
using F = double;
constexpr bool HARD = false;
constexpr int ROWS = rows;
#include "sequence.cuh"
}  // namespace wide_sigmoid

namespace wide_hard {
using std::exp;
using std::tanh;
using F = double;
constexpr bool HARD = true;
constexpr int ROWS = rows;
#include "sequence.cuh"
}  // namespace wide_hard

// Calls a kernel, whose argument has one layout for every type and kind of gate.
using Function = void (*)(const void* argument);

template <typename Argument, void (*kernel)(Argument)>
void call(const void* argument) {
  kernel(*static_cast<const Argument*>(argument));
}

// The compiled form that `kernel` names.
inline Function find(const Kernel& kernel) {
  static const Function forward[] = {
      call<sigmoid::Forward, sigmoid::forward>, call<hard::Forward, hard::forward>,
      call<wide_sigmoid::Forward, wide_sigmoid::forward>, call<wide_hard::Forward, wide_hard::forward>};
  static const Function backward[] = {
      call<sigmoid::Backward, sigmoid::backward>, call<hard::Backward, hard::backward>,
      call<wide_sigmoid::Backward, wide_sigmoid::backward>, call<wide_hard::Backward, wide_hard::backward>};
  const int form = 2 * kernel.wide + kernel.hard;
  return kernel.name == std::string("forward") ? forward[form] : backward[form];
}

// Does all blocks of `kernel`. One at a time in the whole process.
inline void run(const Kernel& kernel, const void* argument) {
  const Function function = find(kernel);
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
          function(argument);
        });
      }
      for (std::thread& thread : threads) thread.join();
    }
  }
}

}  // namespace emulated
}  // namespace seqlab
