// What libtorch has for CUDA and tch does not bind: streams and graphs; and the launch of kernels that NVRTC
// compiles on the spot, so that no CUDA compiler is needed to build. In builds with CUDA only. Functions
// return 0, or 1 and leave a message.

#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <dlfcn.h>

#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <vector>

#include "native.h"

namespace seqlab {
namespace {

using c10::cuda::CUDAStream;

// Of NVRTC and of the driver, which libtorch loads by a library of its own: what is used here, by their
// stable C interfaces.
struct Driver {
  using Program = void*;
  int (*create)(Program*, const char*, const char*, int, const char* const*, const char* const*);
  int (*compile)(Program, int, const char* const*);
  int (*log_size)(Program, size_t*);
  int (*log)(Program, char*);
  int (*binary_size)(Program, size_t*);
  int (*binary)(Program, char*);
  int (*load)(void** module, const void* image);
  int (*function)(void** function, void* module, const char* name);
  int (*launch)(void* function, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned shared,
                void* stream, void** arguments, void** extra);
  int (*device)(int* device, int ordinal);
  int (*attribute)(int* value, int attribute, int device);

  Driver() {
    void* library = dlopen("libcaffe2_nvrtc.so", RTLD_LAZY | RTLD_LOCAL);
    TORCH_CHECK(library, "NVRTC is not found: ", dlerror());
    const auto find = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
      TORCH_CHECK(function, name, " is not found");
    };
    find(create, "nvrtcCreateProgram");
    find(compile, "nvrtcCompileProgram");
    find(log_size, "nvrtcGetProgramLogSize");
    find(log, "nvrtcGetProgramLog");
    find(binary_size, "nvrtcGetCUBINSize");
    find(binary, "nvrtcGetCUBIN");
    find(load, "cuModuleLoadData");
    find(function, "cuModuleGetFunction");
    find(launch, "cuLaunchKernel");
    find(device, "cuDeviceGet");
    find(attribute, "cuDeviceGetAttribute");
  }
};

void check(int status, const char* what) { TORCH_CHECK(status == 0, what, " failed with status ", status); }

// sequence.cuh.
std::string source;

// sequence.cuh compiled for a device and for what `kernel` says.
class Module {
 public:
  Module(const Kernel& kernel, int ordinal) {
    int device = 0, major = 0, minor = 0;
    check(driver().device(&device, ordinal), "cuDeviceGet");
    check(driver().attribute(&major, 75, device), "cuDeviceGetAttribute");
    check(driver().attribute(&minor, 76, device), "cuDeviceGetAttribute");
    const std::string options[] = {
        "--gpu-architecture=sm_" + std::to_string(10 * major + minor),
        "--std=c++17",
        std::string("-DSEQLAB_NUMBER=") + (kernel.wide ? "double" : "float"),
        std::string("-DSEQLAB_HARD=") + (kernel.hard ? "true" : "false"),
        "-DSEQLAB_ROWS=" + std::to_string(kernel.rows),
        "-DSEQLAB_THREADS=" + std::to_string(kernel.threads),
    };
    std::vector<const char*> words;
    for (const std::string& option : options) words.push_back(option.c_str());
    Driver::Program program = nullptr;
    check(driver().create(&program, source.c_str(), "sequence.cuh", 0, nullptr, nullptr), "nvrtcCreateProgram");
    const int status = driver().compile(program, static_cast<int>(words.size()), words.data());
    size_t size = 0;
    driver().log_size(program, &size);
    std::string log(size, ' ');
    driver().log(program, log.data());
    TORCH_CHECK(status == 0, "the kernels do not compile: ", log);
    check(driver().binary_size(program, &size), "nvrtcGetCUBINSize");
    std::vector<char> binary(size);
    check(driver().binary(program, binary.data()), "nvrtcGetCUBIN");
    check(driver().load(&module_, binary.data()), "cuModuleLoadData");
  }

  void* find(const char* name) const {
    void* function = nullptr;
    check(driver().function(&function, module_, name), "cuModuleGetFunction");
    return function;
  }

  static Driver& driver() {
    static Driver driver;
    return driver;
  }

 private:
  void* module_ = nullptr;
};

void launch_kernel(const Kernel& kernel, void* argument) {
  static std::mutex lock;
  static std::map<std::tuple<int, bool, bool, int, unsigned>, std::unique_ptr<Module>> modules;
  const CUDAStream stream = c10::cuda::getCurrentCUDAStream();
  const int device = stream.device_index();
  void* function = nullptr;
  {
    std::lock_guard<std::mutex> alone(lock);
    auto& module = modules[{device, kernel.wide, kernel.hard, kernel.rows, kernel.threads}];
    if (!module) module = std::make_unique<Module>(kernel, device);
    function = module->find(kernel.name);
  }
  void* arguments[] = {argument};
  check(Module::driver().launch(function, kernel.blocks, kernel.replicas, 1, kernel.threads, 1, 1,
                                kernel.shared_bytes, stream.stream(), arguments, nullptr),
        "cuLaunchKernel");
}

}  // namespace
}  // namespace seqlab

extern "C" {

// Takes a stream from libtorch's pool for this thread, and tells its number. The default one cannot be
// captured. What was queued before is done. Not while another thread records.
int seqlab_cuda_own_stream(int device, int64_t* stream) {
  return seqlab::guarded([&] {
    c10::cuda::set_device(static_cast<c10::DeviceIndex>(device));
    c10::cuda::device_synchronize();
    const auto own = c10::cuda::getStreamFromPool(false, static_cast<c10::DeviceIndex>(device));
    c10::cuda::setCurrentCUDAStream(own);
    *stream = static_cast<int64_t>(own.id());
  });
}

// Has this thread queue its work on the stream of that number.
int seqlab_cuda_use_stream(int device, int64_t stream) {
  return seqlab::guarded([&] {
    c10::cuda::setCurrentCUDAStream(c10::cuda::CUDAStream::unpack3(
        stream, static_cast<c10::DeviceIndex>(device), c10::DeviceType::CUDA));
  });
}

// Has kernels compiled from `source`, sequence.cuh, when they are first launched.
int seqlab_cuda_kernels(const char* source) {
  return seqlab::guarded([&] {
    static std::once_flag once;
    std::call_once(once, [&] {
      seqlab::Module::driver();
      seqlab::source = source;
      seqlab::launch = seqlab::launch_kernel;
    });
  });
}

// Begins to record what this thread queues. Calls of other threads are not affected.
int seqlab_cuda_graph_begin(void** graph) {
  return seqlab::guarded([&] {
    c10::cuda::getCurrentCUDAStream().synchronize();
    auto begun = std::make_unique<at::cuda::CUDAGraph>();
    begun->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    *graph = begun.release();
  });
}

// Ends that.
int seqlab_cuda_graph_end(void* graph) {
  return seqlab::guarded([&] { static_cast<at::cuda::CUDAGraph*>(graph)->capture_end(); });
}

// Queues what was recorded, on the same memory.
int seqlab_cuda_graph_replay(void* graph) {
  return seqlab::guarded([&] { static_cast<at::cuda::CUDAGraph*>(graph)->replay(); });
}

// Frees it, once what this thread queued is done.
int seqlab_cuda_graph_free(void* graph) {
  return seqlab::guarded([&] {
    c10::cuda::getCurrentCUDAStream().synchronize();
    delete static_cast<at::cuda::CUDAGraph*>(graph);
  });
}

}  // extern "C"
