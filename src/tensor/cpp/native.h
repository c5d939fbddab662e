// What the parts of this folder share.

#pragma once

#include <cstdint>
#include <exception>
#include <string>

namespace seqlab {

// What the last call on this thread that failed has to say.
extern thread_local std::string message;

// How a kernel of sequence.cuh is compiled and launched.
struct Kernel {
  const char* name;
  // F is double instead of float.
  bool wide;
  bool hard;
  int rows;
  // Blocks of rows, and replicas.
  unsigned blocks, replicas;
  unsigned threads, shared_bytes;
};

// Queues a kernel with what it takes on this thread's stream; null in a build without CUDA.
extern void (*launch)(const Kernel& kernel, void* argument);

// Does `work`. Returns 0, or 1 and leaves a message.
template <typename Work>
int guarded(Work work) {
  try {
    work();
    return 0;
  } catch (const std::exception& error) {
    message = error.what();
    return 1;
  }
}

}  // namespace seqlab
