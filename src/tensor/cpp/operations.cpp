// What the operations of a thread would launch on a GPU, counted where they run: for tests.

#include <ATen/record_function.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "native.h"

namespace seqlab {
namespace {

// What is open: its name, whether something inside it launched, and whether it is part of what one kernel does.
struct Open {
  std::string name;
  bool launched;
  bool within_one;
};

thread_local std::vector<Open> open;
thread_local std::map<std::string, int64_t> launches;
thread_local std::string report;
thread_local at::CallbackHandle handle;

// Whether it gives a tensor another form, or makes one whose numbers nobody set.
bool is_free(const std::string& name) {
  static const std::set<std::string> free = {
      "aten::alias",      "aten::as_strided", "aten::broadcast_tensors", "aten::chunk",       "aten::detach",
      "aten::detach_",    "aten::empty",      "aten::empty_like",        "aten::empty_strided", "aten::expand",
      "aten::expand_as",  "aten::flatten",    "aten::narrow",            "aten::new_empty",   "aten::permute",
      "aten::requires_grad_", "aten::reshape", "aten::reshape_as",       "aten::resize_",     "aten::resolve_conj",
      "aten::select",     "aten::set_",       "aten::slice",             "aten::split",       "aten::split_with_sizes",
      "aten::squeeze",    "aten::squeeze_",   "aten::t",                 "aten::transpose",   "aten::unbind",
      "aten::unflatten",  "aten::unsqueeze",  "aten::unsqueeze_",        "aten::view",        "aten::view_as",
      "aten::_reshape_alias", "aten::_unsafe_view", "aten::result_type", "aten::is_same_size", "aten::to",
      "aten::contiguous", "aten::output_nr",  "aten::requires_grad",     "aten::resize_as_",  "aten::data",
      "detach",           "detach_",
  };
  // Steps of automatic differentiation are no operations.
  return free.count(name) > 0 || name.rfind("autograd::", 0) == 0;
}

// Whether a GPU does it by one kernel, where the CPU has several operations.
bool is_one(const std::string& name) { return name == "aten::mean" || name == "aten::_fused_adam_"; }

std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
  const std::string name = function.name();
  const bool within = !open.empty() && (open.back().within_one || is_one(open.back().name));
  open.push_back({name, false, within});
  return nullptr;
}

// What launches is the innermost.
void end(const at::RecordFunction&, at::ObserverContext*) {
  if (open.empty()) return;
  const Open done = open.back();
  open.pop_back();
  const bool launches_itself = !done.launched && !done.within_one && !is_free(done.name);
  if (launches_itself) ++launches[done.name];
  if (!open.empty() && (done.launched || launches_itself)) open.back().launched = true;
}

}  // namespace
}  // namespace seqlab

extern "C" {

// Counts from here on, on this thread.
int seqlab_operations_begin() {
  return seqlab::guarded([] {
    seqlab::open.clear();
    seqlab::launches.clear();
    seqlab::handle = at::addThreadLocalCallback(
        at::RecordFunctionCallback(seqlab::begin, seqlab::end).scopes({at::RecordScope::FUNCTION}));
  });
}

// Ends that. Leaves a line for each name, `name count`, valid until this thread's next call.
int seqlab_operations_end(const char** report) {
  return seqlab::guarded([&] {
    at::removeCallback(seqlab::handle);
    seqlab::report.clear();
    for (const auto& [name, count] : seqlab::launches) {
      seqlab::report += name + " " + std::to_string(count) + "\n";
    }
    *report = seqlab::report.c_str();
  });
}

}  // extern "C"
